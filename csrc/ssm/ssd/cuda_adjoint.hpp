// The gradient of Mamba-2's scan on a GPU: README (8)-(15). Computes the state before each chunk, then the gradient of the state after each
// chunk, then all chunks in parallel.
#pragma once
#include "core/cuda/sums.hpp"
#include "ssm/ssd/cuda.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

// Additional arrays of the backward pass.
template <class T>
struct Back {
  ChunkScanAdjoint<T> q;
  GradIn<T> in;
  T* states;                                       // same shape as in Scan: the gradients of the states after the chunks
  T* pairs;                                        // (items, heads, length, steps), q_ij of (9)
  T* inner;                                        // (items, groups, length, steps), dS of (9)
  T *across, *from_states, *to_states, *products;  // (items, heads, length): the terms of (12), and x.du
  T *carry, *dA, *ddt_bias;                        // (items, chunks, heads): the last term of (12), and parts of sums
};

// Computes q of (9) and the first term of (12). One thread block per chunk and head. Reads x, grad and z once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_pairs(const Scan<T> s, const Back<T> b) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  each_chunk(s, *shared, [&](const HeadChunk<T>& me, const ChunkSteps<T>& steps) {
    const T* const inner = me.inner();
    T total[kPatch][kPatch] = {};
    add_product<true, true>(
        me.c.steps, p.channels, me.c.steps, [&](int64_t i, int64_t k) { return b.in.before_gate(me, i, k); },
        [&](int64_t k, int64_t j) { return steps.dt[j] * me.number(p.x, j, k); }, *shared, total);
    each_number(*shared, total, [&](int i, int j, T& value) {
      if (i >= me.c.steps || j >= me.c.steps) return;
      const T q = steps.together(i, j) ? T(value * steps.passes(i, j)) : T(0);
      b.pairs[me.step(i) * p.steps + j] = q;
      value = steps.together(i, j) ? T(q * inner[i * p.steps + j]) : T(0);
    });
    crossing_sums(*shared, me.c.steps, [&](int t, T sum) { b.across[me.step(t)] = sum; });
  });
}

// Computes dS of (9), summed over the heads of a group in order. One thread block per chunk and group.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_heads(const Scan<T> s, const T* pairs, T* to) {
  const ChunkScan<T>& p = s.p;
  const int64_t heads = quotient(p.heads, p.groups);
  QF_ROLLED
  for (int64_t at = blockIdx.x; at < p.items * s.chunks * p.groups; at += gridDim.x) {
    const int64_t row = quotient(at, p.groups), group = remainder(at, p.groups), item = quotient(row, s.chunks);
    const Chunk c = s.chunk(remainder(row, s.chunks));
    QF_ROLLED
    for (int64_t n = threadIdx.x; n < c.steps * c.steps; n += kThreads) {
      const int64_t t = c.begin + quotient(n, c.steps), j = remainder(n, c.steps);
      T sum(0);
      QF_ROLLED
      for (int64_t h = group * heads; h < (group + 1) * heads; ++h) sum += pairs[((item * p.heads + h) * p.length + t) * p.steps + j];
      to[((item * p.groups + group) * p.length + t) * p.steps + j] = sum;
    }
  }
}

// Computes dx (10), (14), the third term of (12), and x.du. One thread block per chunk and head. Reads the gradient of the state
// once, x twice, and grad and z once, or twice with D.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_inputs(const Scan<T> s, const Back<T> b) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  each_chunk(s, *shared, [&](const HeadChunk<T>& me, const ChunkSteps<T>& steps) {
    const T *const state = b.states + me.state(), *const inner = me.inner();
    const int64_t last = me.from(me.c.steps - 1);
    QF_ROLLED
    for (int64_t p0 = 0; p0 < p.channels; p0 += kSide) {
      T total[kPatch][kPatch] = {};
      add_product<true, true>(
          me.c.steps, p.states, p.channels - p0, [&](int64_t j, int64_t n) { return me.mixing(p.B, j, n); },
          [&](int64_t n, int64_t k) { return state[(p0 + k) * p.states + n]; }, *shared, total);
      each_row(
          *shared, total,
          [&](int j, int k, T& value) {
            const bool valid = j < me.c.steps && p0 + k < p.channels;
            value = valid && j >= last ? s.end[me.step(j)] * value : T(0);
            return valid ? T(s.dt[me.step(j)] * me.number(p.x, j, p0 + k) * value) : T(0);
          },
          [&](int j, T sum) { me.add_row(b.to_states, j, p0, sum); });
      take_back(*shared, total);
      add_product<false, false>(
          me.c.steps, me.c.steps, p.channels - p0,
          [&](int64_t j, int64_t i) { return steps.together(i, j) ? T(inner[i * p.steps + j] * steps.passes(i, j)) : T(0); },
          [&](int64_t i, int64_t k) { return b.in.before_gate(me, i, p0 + k); }, *shared, total);
      each_row(
          *shared, total,
          [&](int j, int k, T du) {
            const int64_t c = p0 + k;
            if (j >= me.c.steps || c >= p.channels) return T(0);
            b.q.dx[me.row(j) + c] = multiply_add(s.dt[me.step(j)], du, p.D ? T(me.skip(c) * b.in.before_gate(me, j, c)) : T(0));
            return T(me.number(p.x, j, c) * du);
          },
          [&](int j, T sum) { me.add_row(b.products, j, p0, sum); });
    }
  });
}

// Computes dB or dC (11). One thread block per chunk, group and kSide states adds the heads in order. dB reads x once per kSide
// states, and the gradients of the heads' states once. dC reads grad, z and the states in the same way.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_mixing(const Scan<T> s, const Back<T> b, const bool of_C, const int64_t tiles, T* to) {
  QF_SHARED(Shared<T>, shared);
  const ChunkScan<T>& p = s.p;
  const int64_t heads = quotient(p.heads, p.groups);
  for (int64_t at = blockIdx.x; at < p.items * s.chunks * p.groups * tiles; at += gridDim.x) {
    const int64_t row = quotient(at, tiles), n0 = remainder(at, tiles) * kSide;
    HeadChunk<T> me(s, row * heads);  // the first head of the group
    if (me.c.steps == 0) continue;
    const int64_t last = me.from(me.c.steps - 1), first = me.head;
    const T* const dS = b.inner + ((me.item * p.groups + me.group) * p.length + me.c.begin) * p.steps;
    T total[kPatch][kPatch] = {};
    QF_ROLLED
    for (me.head = first; me.head < first + heads; ++me.head) {
      const T* const state = (of_C ? s.states : b.states) + me.state() + n0;
      add_product<true, false>(
          me.c.steps, p.channels, p.states - n0,
          [&](int64_t i, int64_t k) {
            if (of_C) return me.from(i) < 0 ? T(s.start[me.step(i)] * b.in.before_gate(me, i, k)) : T(0);
            return i >= last ? T(s.end[me.step(i)] * (s.dt[me.step(i)] * me.number(p.x, i, k))) : T(0);
          },
          [&](int64_t k, int64_t n) { return state[k * p.states + n]; }, *shared, total);
    }
    add_product<true, false>(
        me.c.steps, me.c.steps, p.states - n0, [&](int64_t i, int64_t j) { return of_C ? dS[i * p.steps + j] : dS[j * p.steps + i]; },
        [&](int64_t j, int64_t n) { return me.mixing(of_C ? p.B : p.C, j, n0 + n); }, *shared, total);
    each_number(*shared, total, [&](int i, int n, T value) {
      if (i < me.c.steps && n0 + n < p.states) to[(me.time(i) * p.groups + me.group) * p.states + n0 + n] = value;
    });
  }
}

// Computes f <h, m> of (12). One warp per chunk and head. Reads the states and their gradients once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_carry(const Scan<T> s, const Back<T> b) {
  const int64_t state_size = s.p.channels * s.p.states;
  each_of_warp(s.p.items * s.chunks * s.p.heads, [&](int64_t at) {
    const HeadChunk<T> me(s, at);
    const bool keeps = me.c.steps > 0 && me.keeps();
    T sum(0);
    QF_ROLLED
    for (int64_t n = threadIdx.x % kWarp; keeps && n < state_size; n += kWarp)
      sum = multiply_add(s.states[me.state() + n], b.states[me.state() + n], sum);
    sum = sum_of_lanes(sum);
    if (threadIdx.x % kWarp == 0) b.carry[at] = keeps ? s.start[me.step(me.c.steps - 1)] * sum : T(0);
  });
}

// Computes ddt and the chunk's parts of dA and dbias (12), (15). One warp per chunk and head.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_step_gradients(const Scan<T> s, const Back<T> b) {
  const ChunkScan<T>& p = s.p;
  const int lane = threadIdx.x % kWarp;
  each_of_warp(p.items * s.chunks * p.heads, [&](int64_t at) {
    const HeadChunk<T> me(s, at);
    const T bias = p.dt_bias ? p.dt_bias[me.head] : T(0), A = p.A[me.head];
    T later[kRowParts], earlier[kRowParts], dA(0), dbias(0);
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part) {
      const int i = part * kWarp + lane;
      later[part] = i < me.c.steps ? b.from_states[me.step(i)] : T(0);
      earlier[part] = i == 0 ? b.carry[at] : i < me.c.steps ? b.to_states[me.step(i - 1)] : T(0);
    }
    const auto plus = [](T x, T y) { return x + y; };
    running_sums<true>(later, plus), running_sums<false>(earlier, plus);
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part) {
      const int i = part * kWarp + lane;
      if (i >= me.c.steps) continue;
      const int64_t index = me.step(i);
      const T raw = me.number(p.dt, i, 0) + bias, of_exponent = (b.across[index] + later[part]) + earlier[part];
      const T slope = (p.softplus ? elementary::sigmoid(raw) : T(1)) * clip_slope(raw_step(p, raw), p.dt_min, p.dt_max);
      const T ddt = multiply_add(A, of_exponent, b.products[index]) * slope;
      b.q.ddt[me.time(i) * p.heads + me.head] = ddt;
      dA = multiply_add(s.dt[index], of_exponent, dA), dbias += ddt;
    }
    dA = sum_of_lanes(dA), dbias = sum_of_lanes(dbias);
    if (lane == 0) b.dA[at] = dA, b.ddt_bias[at] = dbias;
  });
}

// Computes the chunks' parts of dD (14), (items, chunks, heads, channels). One thread block per chunk and head. Reads x, grad and z once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_skip(const Scan<T> s, const GradIn<T> in, T* parts) {
  const ChunkScan<T>& p = s.p;
  QF_ROLLED
  for (int64_t at = blockIdx.x; at < p.items * s.chunks * p.heads; at += gridDim.x) {
    const HeadChunk<T> me(s, at);
    QF_ROLLED
    for (int64_t k = threadIdx.x; k < p.channels; k += kThreads) {
      T sum(0);
      QF_ROLLED
      for (int64_t i = 0; i < me.c.steps; ++i) sum = multiply_add(in.before_gate(me, i, k), me.number(p.x, i, k), sum);
      parts[at * p.channels + k] = sum;
    }
  }
}

template <class T>
void put_dD(const Buffers<T>& buffers, const GradIn<T>& in, T* dD) {
  const ChunkScan<T>& p = buffers.scan.p;
  if (!dD) return;
  const int64_t chunks = p.items * buffers.scan.chunks;
  const Workspace<T> parts(buffers.head_chunks() * p.channels), of_heads(p.D_of_channels ? 0 : buffers.head_chunks());
  launch(put_skip<T>, buffers.head_chunks(), kThreads, 0, buffers.scan, in, parts);
  if (p.D_of_channels) return add_up<T>(1, chunks, p.heads * p.channels, parts, dD);
  add_up<T>(buffers.head_chunks(), p.channels, 1, parts, of_heads);
  add_up<T>(1, chunks, p.heads, of_heads, dD);
}

template <class T>
void chunk_scan_adjoint(const ChunkScanAdjoint<T>& q) {
  if (const ChunkScan<T>& f = q.forward; f.items * f.heads * f.channels == 0) {  // empty sums
    set_zero(q.ddt, f.items * f.length * f.heads);
    set_zero(q.dB, f.items * f.length * f.groups * f.states), set_zero(q.dC, f.items * f.length * f.groups * f.states);
    set_zero(q.dA, f.heads), set_zero(q.ddt_bias, f.heads);
    return set_zero(q.dD, f.D_of_channels ? f.heads * f.channels : f.heads);
  }
  const Buffers<T> buffers(q.forward);
  const Scan<T>& s = buffers.scan;
  const ChunkScan<T>& p = s.p;
  const Workspace<T> states(buffers.head_chunks() * p.channels * p.states), pairs(buffers.count() * p.steps),
      inner(p.items * p.groups * p.length * p.steps), numbers(4 * buffers.count()), parts(3 * buffers.head_chunks());
  Back<T> b{q, {q.grad, q.grad_final, q.grad_varlen}, states, pairs, inner, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  T *at = numbers, *of_chunk = parts;
  for (T** to : {&b.across, &b.from_states, &b.to_states, &b.products}) *to = at, at += buffers.count();
  for (T** to : {&b.carry, &b.dA, &b.ddt_bias}) *to = of_chunk, of_chunk += buffers.head_chunks();
  put_states(buffers);
  launch(put_outputs<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), s, b.in, true, q.dz, b.from_states);
  pass_all(buffers, b.in, {q.grad_final, b.states, q.dinitial, q.grad_varlen, nullptr, true});
  launch(put_pairs<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), s, b);
  launch(add_heads<T>, p.items * s.chunks * p.groups, kThreads, 0, s, b.pairs, b.inner);
  launch(put_inputs<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), s, b);
  const int64_t tiles = tiles_of(p.states);
  for (const bool of_C : {false, true})
    launch(put_mixing<T>, p.items * s.chunks * p.groups * tiles, kThreads, sizeof(Shared<T>), s, b, of_C, tiles, of_C ? q.dC : q.dB);
  launch(put_carry<T>, warp_blocks(buffers.head_chunks()), kThreads, 0, s, b);
  launch(put_step_gradients<T>, warp_blocks(buffers.head_chunks()), kThreads, 0, s, b);
  add_up<T>(1, p.items * s.chunks, p.heads, b.dA, q.dA);
  add_up<T>(1, p.items * s.chunks, p.heads, b.ddt_bias, q.ddt_bias);
  put_dD(buffers, b.in, q.dD);
  const int64_t steps = p.items * p.length, of_mixing = steps * p.groups * p.states;
  buffers.check(q.dx, steps * p.heads * p.channels), buffers.check(q.dz, steps * p.heads * p.channels),
      buffers.check(q.ddt, steps * p.heads);
  buffers.check(q.dA, p.heads), buffers.check(q.ddt_bias, p.heads), buffers.check(q.dD, p.heads * (p.D_of_channels ? p.channels : 1));
  buffers.check(q.dB, of_mixing), buffers.check(q.dC, of_mixing), buffers.check(q.dinitial, p.items * p.heads * p.channels * p.states);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
