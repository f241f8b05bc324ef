// The selective scan and its gradient on a GPU: README (1)-(9). A thread block processes up to 16 channels of an item. Each thread
// processes one of their states for all steps, and one step of each tile for the work that is done once per step.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/sums.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/selective/args.hpp"
#include "ssm/selective/formula.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kSide = 16;                // channels per thread block, states at a time, maximum steps per tile
constexpr int kThreads = kSide * kSide;  // per thread block
constexpr int kPitch = kSide + 1;        // so that neighbouring states use different banks
template <class E>
constexpr int kSteps = sizeof(E) > 8 ? kSide / 2 : kSide;  // steps per tile; fewer fit for complex numbers in double precision

// The thread blocks of one item: runs of channels that share their B and their C, each split into tiles of kSide.
struct ChannelTiles {
  int64_t run, runs = 0, tiles = 0;  // channels per run, runs per item, tiles per run
  template <class T, class E>
  explicit ChannelTiles(const SelectiveScan<T, E>& p) : run(p.channels) {
    if (run >= kTooMany) throw DeviceError("selective_scan_fn: 2^31 or more channels are too many for a GPU kernel");
    if (!run) return;
    for (const Mixing<E>* m : {&p.B, &p.C})
      if (m->varies)
        for (int64_t a = p.channels / m->groups, r; a; a = r) r = run % a, run = a;  // greatest common divisor
    runs = p.channels / run, tiles = (run + kSide - 1) / kSide;
  }
  QF_HD int64_t blocks() const { return runs * tiles; }
};

// A thread's channel (for threads without one, the last of the thread block) and its lane, which selects a state of each chunk and a step
// of each tile.
template <class T, class E>
struct ThreadChannel {
  const SelectiveScan<T, E>& p;
  int64_t item, first, channel, row;  // first: first channel of the thread block; row: index in items x channels
  int rows, c, lane;

  __device__ ThreadChannel(const SelectiveScan<T, E>& p, const ChannelTiles& tiling, int64_t block)
      : p(p), item(quotient(block, tiling.blocks())), c(threadIdx.x / kSide), lane(threadIdx.x % kSide) {
    const int64_t tile = remainder(block, tiling.tiles) * kSide;
    first = remainder(quotient(block, tiling.tiles), tiling.runs) * tiling.run + tile;
    rows = int(min(tiling.run - tile, int64_t(kSide)));
    channel = first + min(c, rows - 1), row = item * p.channels + channel;
  }
  __device__ bool is_channel() const { return c < rows; }
  __device__ bool is_state(int64_t n) const { return is_channel() && n + lane < p.states; }
  __device__ int64_t state(int64_t n) const { return row * p.states + n + lane; }
  __device__ T number(const Signal<const T>& x, int64_t t) const { return x.at[item * x.item + channel * x.channel + t * x.time]; }

  // The elements of B or C for the states from n on and the steps from t on, stored at [state][step], or at [state][channel] if they do not
  // vary.
  __device__ void put(const Mixing<E>& m, int64_t n, int64_t t, E (*to)[kPitch]) const {
    const int64_t group = quotient(m.varies ? first : channel, quotient(p.channels, m.groups));
    const E* const at = m.at + item * m.item + group * m.group;
    if (!m.varies)
      to[lane][c] = n + lane < p.states ? at[(n + lane) * m.state] : E{};
    else if (t + lane < p.length)
      to[c][lane] = n + c < p.states ? at[(n + c) * m.state + (t + lane) * m.time] : E{};
  }
  // This thread's elements of those written by `put`: one per step, or one for all steps.
  __device__ const E* coefficients(const Mixing<E>& m, const E (*from)[kPitch]) const { return from[lane] + (m.varies ? 0 : c); }
};

// (1) The step size and the input of one channel at one step.
template <class T>
struct Step {
  T delta, input;
};
template <class T, class E>
__device__ __forceinline__ Step<T> step_of(const SelectiveScan<T, E>& p, T raw, T u) {
  const T delta = p.delta_softplus ? elementary::softplus(raw, elementary::softplus_tail(raw)) : raw;
  return {delta, delta * u};
}

// Each lane of half a warp has kSide elements. Returns their sums over the lanes, one sum per lane.
template <class T>
__device__ __forceinline__ T sum_for_lane(T (&x)[kSide]) {
  QF_UNROLL(4)
  for (int bit = 3; bit >= 0; --bit) {
    const int by = 1 << bit;
    const bool upper = threadIdx.x & by;
    QF_UNROLL(8)
    for (int i = 0; i < by; ++i) {
      const T sent = upper ? x[i] : x[i + by], own = upper ? x[i + by] : x[i];
      x[i] = own + shuffle_xor(sent, by);
    }
  }
  return x[0];
}

template <class T, class E>
struct ScanTile {
  Step<T> steps[kSide][kPitch];  // [channel][step]
  E B[kSide][kPitch], C[kSide][kPitch];
};

// (2), (3) If `reads`, runs the complete scan and writes the final states to `states` (items, channels, states); `stride` is then 0.
// Otherwise writes the state before each tile, `stride` apart. Reads u, delta and z once, and B and C once per thread block; writes out
// once.
template <class T, class E>
__global__ void __launch_bounds__(kThreads, 1)
    scan_channels(const SelectiveScan<T, E> p, const ChannelTiles tiling, const bool reads, E* states, const int64_t stride) {
  using Tile = ScanTile<T, E>;
  QF_SHARED(Tile, tiles);  // two buffers: one is written while the other is read
  int buffer = 0;
  const int64_t end = reads ? p.length : max(p.length - 1, int64_t(0)) / kSteps<E> * kSteps<E>;
  for (int64_t at = blockIdx.x; at < p.items * tiling.blocks(); at += gridDim.x) {
    const ThreadChannel<T, E> me(p, tiling, at);
    const T D = p.D ? p.D[me.channel] : T(0), bias = p.delta_bias ? p.delta_bias[me.channel] : T(0);
    for (int64_t n = 0; me.is_state(n); n += kSide) states[me.state(n)] = p.initial ? p.initial[me.state(n)] : E{};
    for (int64_t first = 0; first < end; first += kSteps<E>) {
      const int steps = int(min(end - first, int64_t(kSteps<E>)));
      const bool has_step = me.lane < steps;
      const T u = has_step ? me.number(p.u, first + me.lane) : T(0);
      const Step<T> mine = has_step ? step_of(p, me.number(p.delta, first + me.lane) + bias, u) : Step<T>{};
      E* const before = states + first / kSteps<E> * stride;
      T y = D * u;
      for (int64_t n = 0; n < p.states; n += kSide, buffer ^= 1) {
        Tile& tile = tiles[buffer];
        tile.steps[me.c][me.lane] = mine;
        me.put(p.B, n, first, tile.B);
        if (reads) me.put(p.C, n, first, tile.C);
        __syncthreads();
        const bool is_state = me.is_state(n);
        const E rate = is_state ? decay_rate(p.A[me.channel * p.states + n + me.lane]) : E{};
        const E *const B = me.coefficients(p.B, tile.B), *const C = me.coefficients(p.C, tile.C);
        E x = is_state ? before[me.state(n)] : E{};
        T outputs[kSide] = {};
        QF_UNROLL(16)
        for (int t = 0; t < kSteps<E>; ++t) {
          if (t >= steps) continue;
          const Step<T> s = tile.steps[me.c][t];
          x = scan::step(decay(s.delta, rate), x, scaled(B[p.B.varies ? t : 0], s.input));
          if (reads && is_state) outputs[t] = readout(C[p.C.varies ? t : 0], x);
        }
        if (is_state) before[me.state(n) + stride] = x;
        if (reads) y += sum_for_lane(outputs);
      }
      if (reads && has_step && me.is_channel())
        p.out[me.row * p.length + first + me.lane] = p.z.at ? y * silu(me.number(p.z, first + me.lane)) : y;
    }
  }
}

template <class T, class E>
void selective_scan(const SelectiveScan<T, E>& p) {
  const ChannelTiles tiling(p);
  const Workspace<E> states(p.last ? 0 : p.items * p.channels * p.states);
  launch(scan_channels<T, E>, p.items * tiling.blocks(), kThreads, 2 * sizeof(ScanTile<T, E>), p, tiling, true, p.last ? p.last : states,
         int64_t(0));
}

// Additional arrays of the backward pass: the state before each tile; a carry (5) and the sums over time so far for every state; the sums
// for every channel; and for every thread block and step the contributions of its channels to dB and dC.
template <class T, class E>
struct Running {
  const E* tile_states;
  E *carry, *dA, *dB, *dC;  // (items, channels, states); dB and dC are (blocks, states, length) if B and C vary
  T *dD, *ddelta_bias;      // (items, channels)
};

template <class T, class E>
struct AdjointTile {
  struct {
    T delta, input, g;
  } steps[kSide][kPitch];  // [channel][step]
  E B[kSide][kPitch], C[kSide][kPitch];
  E to_B[kSide][kSide][kSteps<E> + 1], to_C[kSide][kSide][kSteps<E> + 1];  // [channel][state][step]
};

// Recomputes (2), then computes (5)-(7), for this thread's state in one tile. Stores y and the sums over states of (8) for every channel
// and step.
template <class T, class E>
__device__ __forceinline__ void retreat(const SelectiveScanAdjoint<T, E>& p, const ThreadChannel<T, E>& me, const Running<T, E>& running,
                                        int64_t n, int64_t first, int steps, AdjointTile<T, E>& tile, T& y, T& along_A, T& along_B) {
  const SelectiveScan<T, E>& f = p.forward;
  const bool is_state = me.is_state(n);
  const E A = is_state ? f.A[me.channel * f.states + n + me.lane] : E{}, rate = decay_rate(A);
  const E *const B = me.coefficients(f.B, tile.B), *const C = me.coefficients(f.C, tile.C);
  const int64_t at = me.state(n);
  E a[kSteps<E>], x[kSteps<E> + 1];
  T numbers[kSide] = {}, others[kSide] = {};
  x[0] = is_state ? running.tile_states[first / kSteps<E> * f.items * f.channels * f.states + at] : E{};
  QF_UNROLL(16)
  for (int t = 0; t < kSteps<E>; ++t) {
    a[t] = E{}, x[t + 1] = x[t];
    if (t >= steps) continue;
    const auto s = tile.steps[me.c][t];
    a[t] = decay(s.delta, rate);
    x[t + 1] = scan::step(a[t], x[t], scaled(B[f.B.varies ? t : 0], s.input));
    if (p.dz && is_state) numbers[t] = readout(C[f.C.varies ? t : 0], x[t + 1]);
  }
  if (p.dz) y += sum_for_lane(numbers);
  E carry = is_state ? running.carry[at] : E{}, dA{}, dB{}, dC{};
  QF_UNROLL(16)
  for (int t = kSteps<E> - 1; t >= 0; --t) {
    numbers[t] = T(0);
    if (t >= steps) continue;
    const auto s = tile.steps[me.c][t];
    const E mu = readout_adjoint(s.g, C[f.C.varies ? t : 0]) + carry, to_exponent = scan::factor_adjoint(mu, E(a[t] * x[t]));
    const E to_B = scaled(mu, s.input), to_C = readout_adjoint(s.g, x[t + 1]);
    if (is_state) numbers[t] = inner(A, to_exponent), others[t] = inner(B[f.B.varies ? t : 0], mu);
    dA = dA + scaled(to_exponent, s.delta);
    carry = conjugate(a[t]) * mu;
    if (f.B.varies)
      tile.to_B[me.c][me.lane][t] = to_B;
    else
      dB = dB + to_B;
    if (f.C.varies)
      tile.to_C[me.c][me.lane][t] = to_C;
    else
      dC = dC + to_C;
  }
  along_A += sum_for_lane(numbers);
  along_B += sum_for_lane(others);
  if (!is_state) return;
  running.carry[at] = carry, running.dA[at] = running.dA[at] + dA;
  if (!f.B.varies) running.dB[at] = running.dB[at] + dB;
  if (!f.C.varies) running.dC[at] = running.dC[at] + dC;
}

// Sums over the channels of the thread block in order, for this thread's state and step: its part of dB or dC.
template <class T, class E>
__device__ __forceinline__ void add_channels(const ThreadChannel<T, E>& me, int64_t block, int64_t n, int64_t t,
                                             E (*from)[kSide][kSteps<E> + 1], E* parts) {
  if (n + me.c >= me.p.states || me.lane >= kSteps<E> || t + me.lane >= me.p.length) return;
  E sum{};
  for (int c = 0; c < me.rows; ++c) sum = sum + from[c][me.c][me.lane];
  parts[(block * me.p.states + n + me.c) * me.p.length + t + me.lane] = sum;
}

// Computes (4)-(9) from the last tile to the first. Reads u, delta, z and grad once, B and C once per thread block, and one state per tile;
// writes du, ddelta and dz once, and the thread block's parts of dB and dC.
template <class T, class E>
__global__ void __launch_bounds__(kThreads, 1)
    scan_channels_back(const SelectiveScanAdjoint<T, E> p, const ChannelTiles tiling, const Running<T, E> running) {
  using Tile = AdjointTile<T, E>;
  QF_SHARED(Tile, shared);
  Tile& tile = *shared;
  const SelectiveScan<T, E>& f = p.forward;
  for (int64_t at = blockIdx.x; at < f.items * tiling.blocks(); at += gridDim.x) {
    const ThreadChannel<T, E> me(f, tiling, at);
    const T D = f.D ? f.D[me.channel] : T(0), bias = f.delta_bias ? f.delta_bias[me.channel] : T(0);
    for (int64_t n = 0; me.is_state(n); n += kSide) {
      const int64_t i = me.state(n);
      running.carry[i] = p.grad_last ? p.grad_last[i] : E{}, running.dA[i] = E{};
      if (!f.B.varies) running.dB[i] = E{};
      if (!f.C.varies) running.dC[i] = E{};
    }
    T dD(0), ddelta_bias(0);
    for (int64_t first = round_up(f.length, kSteps<E>) - kSteps<E>; first >= 0; first -= kSteps<E>) {
      const int steps = int(min(f.length - first, int64_t(kSteps<E>)));
      const bool has_step = me.lane < steps;
      const int64_t t = first + (has_step ? me.lane : 0);
      const T u = me.number(f.u, t), raw = me.number(f.delta, t) + bias, grad = me.number(p.grad, t), z = f.z.at ? me.number(f.z, t) : T(0);
      const Step<T> mine = step_of(f, raw, u);
      const T g = f.z.at ? grad * silu(z) : grad;
      T y = D * u, along_A(0), along_B(0);
      for (int64_t n = 0; n < f.states; n += kSide) {
        tile.steps[me.c][me.lane] = {mine.delta, mine.input, g};
        me.put(f.B, n, first, tile.B);
        me.put(f.C, n, first, tile.C);
        __syncthreads();
        retreat(p, me, running, n, first, steps, tile, y, along_A, along_B);
        __syncthreads();
        if (f.B.varies) add_channels(me, at, n, first, tile.to_B, running.dB);
        if (f.C.varies) add_channels(me, at, n, first, tile.to_C, running.dC);
      }
      if (!has_step || !me.is_channel()) continue;
      const int64_t to = me.row * f.length + t;
      const T ddelta = (along_A + u * along_B) * (f.delta_softplus ? elementary::sigmoid(raw) : T(1));
      p.ddelta[to] = ddelta, p.du[to] = mine.delta * along_B + D * g;
      if (p.dz) p.dz[to] = grad * silu_slope(z) * y;
      dD += g * u, ddelta_bias += ddelta;
    }
    dD = sum_of_lanes<kSide>(dD), ddelta_bias = sum_of_lanes<kSide>(ddelta_bias);
    if (me.lane == 0 && me.is_channel()) running.dD[me.row] = dD, running.ddelta_bias[me.row] = ddelta_bias;
  }
}

template <class T, class E>
void selective_scan_adjoint(const SelectiveScanAdjoint<T, E>& p) {
  const SelectiveScan<T, E>& f = p.forward;
  const ChannelTiles tiling(f);
  const int64_t rows = f.items * f.channels, states = rows * f.states, blocks = f.items * tiling.blocks();
  const int64_t more_tiles = max(f.length - 1, int64_t(0)) / kSteps<E>;
  const auto parts = [&](const Mixing<E>& m) { return m.varies ? blocks * f.states * f.length : states; };
  const Workspace<E> tile_states((more_tiles + 1) * states), carry(p.dinitial ? 0 : states), dA(states), dB(parts(f.B)), dC(parts(f.C));
  const Workspace<T> dD(rows), ddelta_bias(rows);
  launch(scan_channels<T, E>, blocks, kThreads, 2 * sizeof(ScanTile<T, E>), f, tiling, false, tile_states, states);
  launch(scan_channels_back<T, E>, blocks, kThreads, sizeof(AdjointTile<T, E>), p, tiling,
         Running<T, E>{tile_states, p.dinitial ? p.dinitial : carry, dA, dB, dC, dD, ddelta_bias});
  const auto add_mixing = [&](const Mixing<E>& m, const E* from, E* to) {
    m.varies ? add_up(f.items * m.groups, tiling.blocks() / m.groups, f.states * f.length, from, to)
             : add_up(1, f.items, f.channels * f.states, from, to);
  };
  add_up<E>(1, f.items, f.channels * f.states, dA, p.dA);
  add_mixing(f.B, dB, p.dB);
  add_mixing(f.C, dC, p.dC);
  add_up<T>(1, f.items, f.channels, dD, p.dD);
  add_up<T>(1, f.items, f.channels, ddelta_bias, p.ddelta_bias);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
