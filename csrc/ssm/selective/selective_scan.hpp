// The selective scan: channels in lanes, time in tiles, the states of a tile one at a time.
#pragma once
#include "core/run/parallel.hpp"
#include "ssm/selective/channel_lanes.hpp"
#include "ssm/selective/formula.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kScanSteps = 128;     // steps per tile: its step sizes, inputs and outputs, in 64-byte vectors, take 24 KB of L1
constexpr double kStateNs = 0.3;    // one step of one state of one channel (estimate)
constexpr double kChannelNs = 3.0;  // everything else in one step of one channel (estimate)

// Nanoseconds for `steps` steps of a tile.
template <class T, class E>
double steps_ns(const SelectiveScan<T, E>& p, int64_t steps) {
  return double(steps) * kLanes<T> * (double(p.states) * kStateNs * (sizeof(E) / sizeof(T)) + kChannelNs);
}

// B or C of one state for W channels: one value per step, shared by all lanes, or one constant value per lane.
template <class S, class E>
struct Coefficient {
  const E* at;
  int64_t time;
  S fixed;
  template <bool varies>
  QF_HD S step(int64_t t) const {
    return varies ? broadcast<Part<S>>(at[t * time]) : fixed;
  }
};

// Channels [channel, channel + rows) of one item. All of them are in one group of B and in one group of C.
template <class T, class E>
struct ScanTile {
  using V = Lanes<T>;
  using S = Pack<E, V>;
  const SelectiveScan<T, E>& p;
  int64_t item, channel;
  int rows;

  const T* from(const Signal<const T>& x, int64_t t) const { return x.at + item * x.item + channel * x.channel + t * x.time; }
  void load(const Signal<const T>& x, int64_t t, int64_t steps, V* to) const { load_steps(from(x, t), x.channel, x.time, rows, steps, to); }
  void fetch(const Signal<const T>& x, int64_t t, int begin, int end) const {
    if (x.at && x.time == 1) fetch_steps(from(x, t), x.channel, begin, end, min<int64_t>(kScanSteps, p.length - t));
  }
  int64_t output(int64_t t) const { return (item * p.channels + channel) * p.length + t; }
  int64_t state(int64_t n) const { return (item * p.channels + channel) * p.states + n; }
  int64_t group(const Mixing<E>& m) const { return channel / (p.channels / m.groups); }
  Coefficient<S, E> coefficient(const Mixing<E>& m, int64_t n, int64_t t) const {
    const E* at = m.at + item * m.item + group(m) * m.group + n * m.state + t * m.time;
    return {at, m.time, m.varies ? S{} : gather<S>(at, m.group, rows)};
  }
  S initial(int64_t n) const { return p.initial ? gather<S>(p.initial + state(n), p.states, rows) : S{}; }
  V per_channel(const T* x) const { return x ? gather<V>(x + channel, 1, rows) : V{}; }
};

// The tiles of one item: runs of channels that share their B and their C, each split into tiles of W.
template <class T, class E>
struct ScanTiling {
  int64_t run, runs = 0, tiles = 0;  // channels per run, runs per item, tiles per run
  explicit ScanTiling(const SelectiveScan<T, E>& p) : run(p.channels) {
    constexpr int W = kLanes<T>;
    if (!run) return;
    for (const Mixing<E>* m : {&p.B, &p.C}) {
      if (!m->varies) continue;
      for (int64_t a = p.channels / m->groups, r; a; a = r) {  // greatest common divisor
        r = run % a;
        run = a;
      }
    }
    runs = p.channels / run;
    tiles = (run + W - 1) / W;
  }
  ScanTile<T, E> tile(const SelectiveScan<T, E>& p, int64_t item, int64_t r, int64_t tile) const {
    constexpr int W = kLanes<T>;
    return {p, item, r * run + tile * W, int(min<int64_t>(W, run - tile * W))};
  }
};

template <class F>
QF_HD void with_bools(bool a, bool b, F&& f) {
  using Yes = std::true_type;
  using No = std::false_type;
  a ? b ? f(Yes{}, Yes{}) : f(Yes{}, No{}) : b ? f(No{}, Yes{}) : f(No{}, No{});
}

// (2), (3) Advances one state over one tile: x is in a register, B and C take one broadcast each per step.
template <bool b_varies, bool c_varies, bool reads, class V, class S, class E>
void advance(const V* delta, const V* input, S rate, S& x, const Coefficient<S, E>& B, const Coefficient<S, E>& C, int64_t steps, V* y) {
  S state = x;
  for (int64_t t = 0; t < steps; ++t) {
    state = scan::step(decay(delta[t], rate), state, scaled(B.template step<b_varies>(t), input[t]));
    if constexpr (reads) y[t] = y[t] + readout(C.template step<c_varies>(t), state);
  }
  x = state;
}

// (1) Computes the step sizes, and the input of every state except for the factor B.
template <class T, class E, class V>
void prepare(const ScanTile<T, E>& tile, int64_t t, int64_t steps, V bias, V* delta, V* u, V* input) {
  tile.load(tile.p.delta, t, steps, delta);
  tile.load(tile.p.u, t, steps, u);
  for (int64_t i = 0; i < steps; ++i) delta[i] = delta[i] + bias;
  if (tile.p.delta_softplus) {
    for (int64_t i = 0; i < steps; ++i) input[i] = elementary::softplus_tail(delta[i]);
    for (int64_t i = 0; i < steps; ++i) delta[i] = elementary::softplus(delta[i], input[i]);
  }
  for (int64_t i = 0; i < steps; ++i) input[i] = delta[i] * u[i];
}

// Reads u, delta, z, B and C of a tile once; writes out once. Only the current N states are stored.
template <class T, class E>
void scan_tile(const ScanTile<T, E>& tile, Lanes<T>* memory, Pack<E, Lanes<T>>* x, Pack<E, Lanes<T>>* rate) {
  using V = Lanes<T>;
  using S = Pack<E, V>;
  const auto& p = tile.p;
  V *delta = memory, *u = delta + kScanSteps, *input = u + kScanSteps, *y = input + kScanSteps;
  const V D = tile.per_channel(p.D), bias = tile.per_channel(p.delta_bias);
  for (int64_t n = 0; n < p.states; ++n) {
    x[n] = tile.initial(n);
    rate[n] = decay_rate(gather<S>(p.A + tile.channel * p.states + n, p.states, tile.rows));
  }
  for (int64_t t = 0; t < p.length; t += kScanSteps) {
    const int64_t steps = min<int64_t>(kScanSteps, p.length - t);
    check_interrupt(steps_ns(p, steps));
    prepare(tile, t, steps, bias, delta, u, input);
    for (int64_t i = 0; i < steps; ++i) y[i] = D * u[i];
    for (int64_t n = 0; n < p.states; ++n) {
      // spreads the prefetches of the next tile evenly over the states
      for (const Signal<const T>* next : {&p.delta, &p.u, &p.z})
        tile.fetch(*next, t + kScanSteps, int(n * tile.rows / p.states), int((n + 1) * tile.rows / p.states));
      const auto B = tile.coefficient(p.B, n, t), C = tile.coefficient(p.C, n, t);
      with_bools(p.B.varies, p.C.varies, [&](auto b, auto c) {
        advance<decltype(b)::value, decltype(c)::value, true>(delta, input, rate[n], x[n], B, C, steps, y);
      });
    }
    if (p.z.at) {
      tile.load(p.z, t, steps, u);
      for (int64_t i = 0; i < steps; ++i) delta[i] = silu_tail(u[i]);
      for (int64_t i = 0; i < steps; ++i) y[i] = y[i] * silu(u[i], delta[i]);
    }
    store_steps(p.out + tile.output(t), p.length, tile.rows, steps, y);
  }
  if (p.last)
    for (int64_t n = 0; n < p.states; ++n) scatter(p.last + tile.state(n), p.states, tile.rows, x[n]);
}

template <class T, class E>
void selective_scan(const SelectiveScan<T, E>& p) {
  using V = Lanes<T>;
  using S = Pack<E, V>;
  if (p.items * p.channels == 0) return;
  const ScanTiling<T, E> tiling(p);
  parallel_for(p.items * tiling.runs * tiling.tiles, p.threads, steps_ns(p, p.length), [&](int64_t begin, int64_t end) {
    const Scratch<V> memory(4 * kScanSteps);
    const Scratch<S> states(2 * p.states);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i / tiling.tiles;
      scan_tile(tiling.tile(p, r / tiling.runs, r % tiling.runs, i % tiling.tiles), memory, states, states + p.states);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
