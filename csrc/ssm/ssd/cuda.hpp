// The chunks of Mamba-2's scan on a GPU: where they begin and end, their step sizes and decays, and products of their matrices. README (1),
// (3), (4), (7).
#pragma once
#include "core/cuda/cuts.hpp"
#include "core/cuda/tile.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/ssd/args.hpp"
#include "ssm/ssd/formula.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int kThreads = kTileThreads;

struct Chunk {
  int64_t begin, steps;
  int64_t sequence;  // the sequence of cu_seqlens that ends with this chunk, or -1
  bool fresh;        // whether it begins a sequence of cu_seqlens, except at step 0
};

// A call: its arguments, and its arrays in device memory.
template <class T>
struct Scan {
  ChunkScan<T> p;  // p.steps: steps per chunk
  int64_t chunks;  // per item; some may be empty if there is cu_seqlens
  int* wrong;      // whether cu_seqlens is invalid
  Chunk* table;    // the chunks if there is cu_seqlens; null: all chunks have p.steps, except the last
  int* from;       // (items, length): for each step, where in its chunk its sequence begins; -1 if before the chunk. Null: -1 for all
  T *dt, *high, *low, *start, *end;  // (items, heads, length); the exponents (3), and the decays f and r
  T* inner;                          // (items, groups, length, steps), (4)
  T* states;                         // (items, chunks, heads, channels, states), the states before the chunks

  __device__ Chunk chunk(int64_t k) const { return table ? table[k] : Chunk{k * p.steps, min(p.steps, p.length - k * p.steps), -1, false}; }
  __device__ int from_of(int64_t item, int64_t t) const { return from ? from[item * p.length + t] : -1; }
};

// One chunk of one head. `at`: its index in (items, chunks, heads).
template <class T>
struct HeadChunk {
  const Scan<T>& s;
  int64_t item, k, head, group;
  Chunk c;

  __device__ HeadChunk(const Scan<T>& s, int64_t at) : s(s) {
    const int64_t row = quotient(at, s.p.heads);
    head = remainder(at, s.p.heads), item = quotient(row, s.chunks), k = remainder(row, s.chunks);
    group = quotient(head, quotient(s.p.heads, s.p.groups)), c = s.chunk(k);
  }
  __device__ bool empty() const { return c.steps == 0; }
  __device__ int64_t time(int64_t i) const { return item * s.p.length + c.begin + i; }
  __device__ int64_t step(int64_t i) const { return (item * s.p.heads + head) * s.p.length + c.begin + i; }  // in s.dt and similar arrays
  __device__ int64_t row(int64_t i) const { return (time(i) * s.p.heads + head) * s.p.channels; }            // in out and similar arrays
  __device__ int64_t state() const { return ((item * s.chunks + k) * s.p.heads + head) * s.p.channels * s.p.states; }
  __device__ T number(const Signal<T>& x, int64_t i, int64_t p) const {
    return x.at[item * x.item + (c.begin + i) * x.time + head * x.head + p * x.channel];
  }
  __device__ T mixing(const T* m, int64_t i, int64_t n) const { return m[(time(i) * s.p.groups + group) * s.p.states + n]; }
  __device__ const T* inner() const { return s.inner + ((item * s.p.groups + group) * s.p.length + c.begin) * s.p.steps; }
  __device__ int from(int64_t i) const { return s.from_of(item, c.begin + i); }
  // Whether the state before the chunk passes through it, because the chunk is part of one sequence.
  __device__ bool keeps() const { return empty() || from(c.steps - 1) < 0; }
  // Adds `sum`, the part of row i's sum from column p on, to the sums of all steps, or stores it there if p is 0.
  __device__ void add_row(T* of_steps, int64_t i, int64_t p, T sum) const {
    if (i < c.steps) put_or_add(p == 0, sum, of_steps[step(i)]);
  }
  __device__ T skip(int64_t p) const { return !s.p.D ? T(0) : s.p.D[s.p.D_of_channels ? head * s.p.channels + p : head]; }
};

// A thread block's data for the steps of its chunk; visible after the next barrier.
template <class T>
struct ChunkSteps {
  T dt[kSide], high[kSide], low[kSide];
  int from[kSide];
  __device__ void load(const HeadChunk<T>& me) {
    const int i = threadIdx.x;
    if (i >= me.c.steps) return;
    const int64_t at = me.step(i);
    dt[i] = me.s.dt[at], high[i] = me.s.high[at], low[i] = me.s.low[at], from[i] = me.from(i);
  }
  __device__ bool together(int64_t i, int64_t j) const { return j <= i && j >= from[i]; }
  // d_ij; 0 if step j is later or belongs to a different sequence
  __device__ T passes(int64_t i, int64_t j) const {
    return together(i, j) ? decay(Exponent<T>{high[i], low[i]}, Exponent<T>{high[j], low[j]}) : T(0);
  }
};

template <class T>
struct Shared : Tile<T> {
  ChunkSteps<T> steps;
};

// Calls f(chunk, its steps) for each chunk of a head that belongs to this thread block.
template <class T, class F>
__device__ __forceinline__ void each_chunk(const Scan<T>& s, Shared<T>& shared, F f) {
  each_item<HeadChunk<T>>(s, s.p.items * s.chunks * s.p.heads, [&](const HeadChunk<T>& me) { shared.steps.load(me), f(me, shared.steps); });
}

// ------------------------------------------------------------ before the products

// One thread per chunk slot of the only item. The first slot of a sequence is the number of full chunks before it plus its index, so
// sequences never share a slot, whatever cu_seqlens contains. If cu_seqlens is invalid, there are no chunks.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) cut_item(const Scan<T> s) {
  const int64_t* const cuts = s.p.cu_seqlens;
  const auto first_chunk = [&](int64_t n) { return quotient(cuts[n], s.p.steps) + n; };
  QF_ROLLED
  for (int64_t k = int64_t(blockIdx.x) * kThreads + threadIdx.x; k < s.chunks; k += int64_t(gridDim.x) * kThreads) {
    s.table[k] = {0, 0, -1, false};
    if (*s.wrong || s.p.sequences == 0) continue;
    const int64_t n = sequence_at(k, s.p.sequences, first_chunk), first = first_chunk(n);
    const int64_t begin = cuts[n] + (k - first) * s.p.steps, steps = min(s.p.steps, cuts[n + 1] - begin);
    if (steps > 0) s.table[k] = {begin, steps, begin + steps == cuts[n + 1] ? n : -1, k == first && begin > 0};
  }
}

// One thread per chunk of an item.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) find_sequences(const Scan<T> s) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < s.p.items * s.chunks; at += int64_t(gridDim.x) * kThreads) {
    const int64_t item = quotient(at, s.chunks);
    const Chunk c = s.chunk(remainder(at, s.chunks));
    const int64_t* const index = s.p.seq_idx ? s.p.seq_idx + item * s.p.length : nullptr;
    int from = c.fresh ? 0 : -1;
    QF_ROLLED
    for (int64_t i = 0; i < c.steps; ++i) {
      const int64_t t = c.begin + i;
      if (index && t > 0 && index[t] != index[t - 1]) from = int(i);
      s.from[item * s.p.length + t] = from;
    }
  }
}

// (3) Adds two cumulative sums.
template <class T>
__device__ __forceinline__ Exponent<T> plus(Exponent<T> earlier, Exponent<T> later) {
  const Exponent<T> sum = plus(earlier, later.high);
  return {sum.high, sum.low + later.low};
}

// (1) The step size before it is limited.
template <class T>
__device__ __forceinline__ T raw_step(const ChunkScan<T>& p, T raw) {
  return p.softplus ? elementary::softplus(raw, elementary::softplus_tail(raw)) : raw;
}

// Computes step sizes (1) and decays (3). One warp per chunk and head.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_steps(const Scan<T> s) {
  const int lane = threadIdx.x % kWarp;
  each_of_warp(s.p.items * s.chunks * s.p.heads, [&](int64_t at) {
    const HeadChunk<T> me(s, at);
    const T bias = s.p.dt_bias ? s.p.dt_bias[me.head] : T(0), rate = selective::decay_rate(s.p.A[me.head]);
    Exponent<T> sums[kRowParts];
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part) {
      const int i = part * kWarp + lane;
      sums[part] = {T(0), T(0)};
      if (i >= me.c.steps) continue;
      const T dt = clipped(raw_step(s.p, T(me.number(s.p.dt, i, 0) + bias)), s.p.dt_min, s.p.dt_max);
      s.dt[me.step(i)] = dt, sums[part].high = step_exponent(dt, rate);
    }
    const Exponent<T> all = running_sums<false>(sums, [](Exponent<T> earlier, Exponent<T> later) { return plus(earlier, later); });
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part) {
      const int i = part * kWarp + lane;
      if (i >= me.c.steps) continue;
      const int64_t to = me.step(i);
      s.high[to] = sums[part].high, s.low[to] = sums[part].low;
      s.start[to] = decay(sums[part], Exponent<T>{T(0), T(0)}), s.end[to] = decay(all, sums[part]);
    }
  });
}

// Computes the products (4). One thread block per chunk and group. Reads B and C once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_inner(const Scan<T> s) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  for (int64_t at = blockIdx.x; at < p.items * s.chunks * p.groups; at += gridDim.x) {
    const int64_t row = quotient(at, p.groups), group = remainder(at, p.groups), item = quotient(row, s.chunks);
    const Chunk c = s.chunk(remainder(row, s.chunks));
    const auto mixing = [&](const T* m, int64_t i, int64_t n) {
      return m[((item * p.length + c.begin + i) * p.groups + group) * p.states + n];
    };
    T total[kPatch][kPatch] = {};
    add_product<true, true>(
        c.steps, p.states, c.steps, [&](int64_t i, int64_t n) { return mixing(p.C, i, n); },
        [&](int64_t n, int64_t j) { return mixing(p.B, j, n); }, *shared, total);
    each_number(*shared, total, [&](int i, int j, T value) {
      if (i < c.steps && j < c.steps) s.inner[((item * p.groups + group) * p.length + c.begin + i) * p.steps + j] = value;
    });
  }
}

// ------------------------------------------------------------ states

// The gradients that the adjoint receives, and g, the gradient before the gate. All are null in the forward pass.
template <class T>
struct GradIn {
  Signal<T> grad;
  const T *grad_final, *grad_varlen;
  __device__ T before_gate(const HeadChunk<T>& me, int64_t i, int64_t p) const {
    const T g = me.number(grad, i, p);
    return me.s.p.z.at ? g * selective::silu(me.number(me.s.p.z, i, p)) : g;
  }
};

// Writes each chunk's contribution to the state after it (7) to `to`; if `back`, its contribution to the gradient of the state before it
// (13). One thread block per kSide states of a chunk of a head. Reads x, or grad and z, once per kSide states, and B or C once per kSide
// channels.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    add_chunks(const Scan<T> s, const GradIn<T> in, const bool back, const int64_t tiles, T* to) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  for (int64_t at = blockIdx.x; at < p.items * s.chunks * p.heads * tiles; at += gridDim.x) {
    const HeadChunk<T> me(s, quotient(at, tiles));
    const int64_t n0 = remainder(at, tiles) * kSide, last = me.c.steps ? me.from(me.c.steps - 1) : -1;
    QF_ROLLED
    for (int64_t p0 = 0; p0 < p.channels; p0 += kSide) {
      T total[kPatch][kPatch] = {};
      add_product<false, false>(
          p.channels - p0, me.c.steps, p.states - n0,
          [&](int64_t i, int64_t j) {
            if (back) return me.from(j) < 0 ? T(s.start[me.step(j)] * in.before_gate(me, j, p0 + i)) : T(0);
            return j >= last ? T(s.end[me.step(j)] * (s.dt[me.step(j)] * me.number(p.x, j, p0 + i))) : T(0);
          },
          [&](int64_t j, int64_t n) { return me.mixing(back ? p.C : p.B, j, n0 + n); }, *shared, total);
      each_number(*shared, total, [&](int i, int n, T value) {
        if (p0 + i < p.channels && n0 + n < p.states) to[me.state() + (p0 + i) * p.states + n0 + n] = value;
      });
    }
  }
}

// Passes states from chunk to chunk, or their gradients backwards: from `first` to `last`, either of which may be null. At the ends of
// sequences, adds the gradients `ends`, or writes the states to `varlen`.
template <class T>
struct Passing {
  const T* first;
  T *states, *last;  // states: the contributions of the chunks, overwritten by the states before them
  const T* ends;     // (sequences, ...) gradients
  T* varlen;
  bool back;
};
// Computes (7) or (13), one thread per element of a head's state. Reads and writes the states once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) pass_states(const Scan<T> s, const Passing<T> pass, const int64_t blocks) {
  const ChunkScan<T>& p = s.p;
  const int64_t state_size = p.channels * p.states;
  for (int64_t block = blockIdx.x; block < p.items * p.heads * blocks; block += gridDim.x) {
    const int64_t row = quotient(block, blocks), item = quotient(row, p.heads), head = remainder(row, p.heads);
    const int64_t n = remainder(block, blocks) * kThreads + threadIdx.x;
    if (n >= state_size) continue;
    T h = pass.first ? pass.first[row * state_size + n] : T(0);
    QF_ROLLED
    for (int64_t i = 0; i < s.chunks; ++i) {
      const int64_t k = pass.back ? s.chunks - 1 - i : i;
      const Chunk c = s.chunk(k);
      T& stored = pass.states[((item * s.chunks + k) * p.heads + head) * state_size + n];
      const T added = stored;
      const int64_t end = (c.sequence * p.heads + head) * state_size + n;
      if (pass.ends && c.sequence >= 0) h += pass.ends[end];
      stored = h;
      if (c.steps == 0) continue;
      const int64_t t = c.begin + c.steps - 1;
      h = s.from_of(item, t) < 0 ? multiply_add(s.start[row * p.length + t], h, added) : added;
      if (pass.varlen && c.sequence >= 0) pass.varlen[end] = h;
    }
    if (pass.last) pass.last[row * state_size + n] = h;
  }
}

// ------------------------------------------------------------ outputs

// Computes the outputs (5), (6). One thread block per chunk and head. If `into_gate`, computes instead f_i g_i.h C_i for every step and, if
// there is a gate, dz (8). Reads x, z and the state once, and C once per kSide channels.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    put_outputs(const Scan<T> s, const GradIn<T> in, const bool into_gate, T* dz, T* from_states) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  each_chunk(s, *shared, [&](const HeadChunk<T>& me, const ChunkSteps<T>& steps) {
    const T *const state = s.states + me.state(), *const inner = me.inner();
    QF_ROLLED
    for (int64_t p0 = 0; p0 < p.channels; p0 += kSide) {
      T total[kPatch][kPatch] = {};
      add_product<true, true>(
          me.c.steps, p.states, p.channels - p0, [&](int64_t i, int64_t n) { return me.mixing(p.C, i, n); },
          [&](int64_t n, int64_t j) { return state[(p0 + j) * p.states + n]; }, *shared, total);
      each_row(
          *shared, total,
          [&](int i, int j, T& value) {
            const bool is = i < me.c.steps && p0 + j < p.channels;
            value = is && me.from(i) < 0 ? s.start[me.step(i)] * value : T(0);
            return into_gate && is ? T(in.before_gate(me, i, p0 + j) * value) : T(0);
          },
          [&](int i, T sum) {
            if (into_gate) me.add_row(from_states, i, p0, sum);
          });
      take_back(*shared, total);
      add_product<true, false>(
          me.c.steps, me.c.steps, p.channels - p0,
          [&](int64_t i, int64_t j) { return steps.together(i, j) ? T(inner[i * p.steps + j] * steps.passes(i, j)) : T(0); },
          [&](int64_t j, int64_t k) { return steps.dt[j] * me.number(p.x, j, p0 + k); }, *shared, total);
      each_number(*shared, total, [&](int i, int j, T value) {
        const int64_t c = p0 + j;
        if (i >= me.c.steps || c >= p.channels) return;
        const T y = multiply_add(me.skip(c), p.D ? me.number(p.x, i, c) : T(0), value);
        if (!into_gate)
          p.out[me.row(i) + c] = p.z.at ? y * selective::silu(me.number(p.z, i, c)) : y;
        else if (dz)
          dz[me.row(i) + c] = me.number(in.grad, i, c) * selective::silu_slope(me.number(p.z, i, c)) * y;
      });
    }
  });
}

// ------------------------------------------------------------ a call

// The memory of a call: values per step, products of B and C, and the states before all chunks.
template <class T>
struct Buffers {
  Scan<T> scan;
  const Workspace<Chunk> table;
  const Workspace<int> wrong, from;
  const Workspace<T> steps, inner, states;

  explicit Buffers(const ChunkScan<T>& p)
      : scan(scan_of(p)),
        table(p.cu_seqlens ? scan.chunks : 0),
        wrong(p.cu_seqlens ? 1 : 0),
        from(p.cu_seqlens || p.seq_idx ? p.items * p.length : 0),
        steps(5 * count()),
        inner(p.items * p.groups * p.length * scan.p.steps),
        states(head_chunks() * p.channels * p.states) {
    scan.table = table, scan.wrong = wrong, scan.from = from, scan.inner = inner, scan.states = states;
    T* at = steps;
    for (T** numbers : {&scan.dt, &scan.high, &scan.low, &scan.start, &scan.end}) *numbers = at, at += count();
  }
  int64_t count() const { return scan.p.items * scan.p.heads * scan.p.length; }
  int64_t head_chunks() const { return scan.p.items * scan.chunks * scan.p.heads; }
  void check(T* to, int64_t n) const {
    if (to && wrong) launch(put_nan<T>, tile_blocks(n), kThreads, 0, wrong, to, n);
  }

 private:
  static Scan<T> scan_of(const ChunkScan<T>& p) {
    Scan<T> s{};
    s.p = p, s.p.steps = max(min(min(p.steps, int64_t(kSide)), p.length), int64_t(1));
    s.chunks = p.cu_seqlens ? p.length / s.p.steps + p.sequences : (p.length + s.p.steps - 1) / s.p.steps;
    if (p.items * s.chunks * p.heads >= kTooMany)
      throw DeviceError("mamba_chunk_scan_combined: 2^31 or more chunks are too many for a GPU kernel");
    return s;
  }
};

// Computes the contributions of the chunks, and from them the states before the chunks.
template <class T>
void pass_all(const Buffers<T>& buffers, const GradIn<T>& in, const Passing<T>& pass) {
  const ChunkScan<T>& p = buffers.scan.p;
  const int64_t tiles = tiles_of(p.states), blocks = tile_blocks(p.channels * p.states);
  launch(add_chunks<T>, buffers.head_chunks() * tiles, kThreads, sizeof(Shared<T>), buffers.scan, in, pass.back, tiles, pass.states);
  launch(pass_states<T>, p.items * p.heads * blocks, kThreads, 0, buffers.scan, pass, blocks);
}

// Computes everything before the outputs. Writes the states after the last step and at the ends of sequences if they are requested.
template <class T>
void put_states(const Buffers<T>& buffers) {
  const Scan<T>& s = buffers.scan;
  const ChunkScan<T>& p = s.p;
  if (s.wrong) {
    check_cuts(p.cu_seqlens, p.sequences, p.length, s.wrong);
    launch(cut_item<T>, tile_blocks(s.chunks), kThreads, 0, s);
  }
  if (s.from) launch(find_sequences<T>, tile_blocks(p.items * s.chunks), kThreads, 0, s);
  launch(put_steps<T>, warp_blocks(buffers.head_chunks()), kThreads, 0, s);
  launch(put_inner<T>, p.items * s.chunks * p.groups, kThreads, sizeof(Shared<T>), s);
  pass_all(buffers, GradIn<T>{}, {p.initial, s.states, p.final, nullptr, p.varlen, false});
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
