// The gradient of the gated delta rule on a GPU: README (10)-(18). Computes the state before each chunk, then the gradient of the state
// after each chunk, then all chunks in parallel.
#pragma once
#include "ssm/delta/cuda.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Overwrites the pair products A and E with their gradients (15) times the decays, and computes the first term of (17). One thread block
// per chunk and value head. Reads grad and y once, u twice.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_pair_gradients(const Call<T> s, const Back<T> b) {
  QF_SHARED(Shared<T>, shared);
  each_item<HeadChunk<T>>(s, s.chunks * s.value_heads, [&](const HeadChunk<T>& me) {
    const int n = me.n;
    load_decays<T>(me, *shared, nullptr);
    QF_ROLLED
    for (int q_factor = 1; q_factor >= (s.corrects ? 0 : 1); --q_factor) {
      T total[kPatch][kPatch] = {};
      add_product<true, true>(
          n, s.V, n, [&](int i, int v) { return q_factor ? b.grad(me, i, v) : T(-b.dv(me, i, v)); },
          [&](int v, int j) { return me.written(j, v); }, *shared, total);
      each_number(*shared, total, [&](int i, int j, T& value) {
        if (i >= n || j >= n) return;
        T& pair = (q_factor ? s.reads : s.corrects)[me.pair(i, j)];
        T& both = shared->square[j][i];  // the upper triangle is unused, so it stores the sums
        if (j < i) put_or_add(q_factor, T(value * pair), both);
        pair = j < i + q_factor ? T(shared->square[i][j] * value) : T(0);
        value = j < i ? both : T(0);
      });
    }
    crossing_sums(*shared, n, [&](int t, T sum) { b.across[me.gate(t)] = sum; });
  });
}

// Gradients (16) of the (normalised) queries or keys, and terms of (17). One thread block per chunk and key head adds the value heads of
// that key head in order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_rows(const Call<T> s, const Back<T> b, const bool q_factor, T* to) {
  QF_SHARED(Tile<T>, shared);
  for (int64_t at = blockIdx.x; at < s.chunks * s.heads; at += gridDim.x) {
    const HeadChunk<T> first(s, at * s.group);
    if (first.empty()) continue;
    const int n = first.n;
    QF_ROLLED
    for (int k0 = 0; k0 < s.K; k0 += kSide) {
      T total[kPatch][kPatch] = {};
      QF_ROLLED
      for (int h = 0; h < s.group; ++h) {
        const HeadChunk<T> me(s, at * s.group + h);
        // queries: c S w; keys: -c S z and d R x
        QF_ROLLED
        for (int part = q_factor ? 0 : s.corrects ? 1 : 2; part < (q_factor ? 1 : 3); ++part) {
          const T *const factors = part == 2 ? s.to_end : s.from_start, *const states = part == 2 ? b.states : s.states;
          T sum[kPatch][kPatch] = {};
          add_product<true, true>(
              n, s.V, s.K - k0,
              [&](int i, int v) { return part == 0   ? b.grad(me, i, v)
                                         : part == 1 ? T(-b.dv(me, i, v))
                                                     : me.written(i, v); },
              [&](int v, int j) { return states[me.state(k0 + j, v)]; }, *shared, sum);
          each_row(
              *shared, sum,
              [&](int i, int j, T& value) {
                if (i >= n || k0 + j >= s.K) return T(0);
                value *= factors[me.gate(i)];
                return T(me.key(q_factor, i, k0 + j) * value);
              },
              [&](int i, T x) { me.add_row(k0 == 0 && part != 1, part == 2 ? b.to_state : b.from_state, i, x); });
          take_back(*shared, sum);
          for (int i = 0; i < kPatch; ++i)
            for (int j = 0; j < kPatch; ++j) total[i][j] += sum[i][j];
        }
        // Pair terms. Queries: products with keys. Keys: products with queries, and with the keys before and after them.
        add_product<false, false>(
            n, q_factor || !s.corrects ? n : 3 * n, s.K - k0,
            [&](int i, int l) {
              if (q_factor) return s.reads[me.pair(i, l)];
              if (l < n) return s.reads[me.pair(l, i)];
              return s.corrects[l < 2 * n ? me.pair(i, l - n) : me.pair(l - 2 * n, i)];
            },
            [&](int64_t l, int64_t j) {
              return me.key(!q_factor && l < n, l < n ? l : l < 2 * n ? l - n : l - 2 * n, k0 + j);
            },
            *shared, total);
      }
      each_number(*shared, total, [&](int i, int j, T value) {
        if (i < n && k0 + j < s.K) to[first.row(i) * s.K + k0 + j] = value;
      });
    }
  }
}

// Propagates the gradient through the normalisation (2). One warp per query or key.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_through_norms(const Call<T> s, const Back<T> b, const int64_t rows) {
  const int lane = threadIdx.x % kWarp;
  each_of_warp(2 * rows, [&](int64_t at) {
    const bool query = at < rows;
    const int64_t row = query ? at : at - rows;
    const T* const raw = (query ? s.p.q : s.p.k) + row * s.p.K;
    T* const d = (query ? b.q.dq : b.q.dk) + row * s.p.K;
    const T f = (query ? s.q_factor : s.k_factor)[row];
    T along(0);
    QF_ROLLED
    for (int64_t n = lane; n < s.p.K; n += kWarp) along = multiply_add(raw[n], d[n], along);
    along = -f * f * sum_of_lanes(along);
    QF_ROLLED
    for (int64_t n = lane; n < s.p.K; n += kWarp) d[n] = f * multiply_add(along, raw[n], d[n]);
  });
}

// Computes dg (17). One warp per chunk and value head. Reads the states and their gradients once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_gate_gradients(const Call<T> s, const Back<T> b) {
  const int lane = threadIdx.x % kWarp;
  each_of_warp(s.chunks * s.value_heads, [&](int64_t at) {
    const HeadChunk<T> me(s, at);
    if (me.empty()) return;
    const T *const before = s.states + me.state(0, 0), *const after = b.states + me.state(0, 0);
    T sum(0);
    QF_ROLLED
    for (int64_t n = lane; n < s.p.K * s.p.V; n += kWarp) sum = multiply_add(before[n], after[n], sum);
    sum = sum_of_lanes(sum);
    const T carry = s.from_start[me.gate(me.n - 1)] * sum;
    T later[kRowParts], earlier[kRowParts];
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part) {
      const int i = part * kWarp + lane;
      later[part] = i < me.n ? b.from_state[me.gate(i)] : T(0);
      earlier[part] = i == 0 ? carry : i < me.n ? b.to_state[me.gate(i - 1)] : T(0);
    }
    const auto plus = [](T x, T y) { return x + y; };
    running_sums<true>(later, plus), running_sums<false>(earlier, plus);
    QF_UNROLL(2)
    for (int part = 0; part < kRowParts; ++part)
      if (const int i = part * kWarp + lane; i < me.n) b.q.dg[me.gate(i)] = (b.across[me.gate(i)] + later[part]) + earlier[part];
  });
}

// Computes dbeta (13), and overwrites y with dv. One warp per token and head.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_value_gradients(const Call<T> s, const Back<T> b, const int64_t rows) {
  const int lane = threadIdx.x % kWarp;
  each_of_warp(rows, [&](int64_t at) {
    const T beta = s.p.beta[at];
    T *const y = b.y + at * s.p.V, *const u = s.u + at * s.p.V;
    T sum(0);
    QF_ROLLED
    for (int64_t v = lane; v < s.p.V; v += kWarp) sum = multiply_add(y[v], u[v], sum), y[v] *= beta;
    sum = sum_of_lanes(sum);
    if (lane == 0) b.q.dbeta[at] = sum;
  });
}

template <class T>
void delta_rule_adjoint(const DeltaRuleAdjoint<T>& q) {
  const DeltaRule<T>& f = q.forward;
  const int64_t rows = f.B * f.length * f.heads, gates = f.B * f.length * f.value_heads;
  if (f.K == 0 || f.V == 0 || f.value_heads == 0) {  // empty sums
    set_zero(q.dq, rows * f.K), set_zero(q.dk, rows * f.K), set_zero(q.dv, gates * f.V);
    return set_zero(q.dg, gates), set_zero(q.dbeta, gates);
  }
  const Buffers<T> buffers(f, 0);
  const Call<T>& s = buffers.call;
  const Workspace<T> states(buffers.head_chunks() * f.K * f.V), numbers(s.chunks ? 3 * gates : 0);
  Back<T> b{q, q.dv, states, nullptr, nullptr, nullptr};
  if (s.chunks) b.across = numbers, b.from_state = numbers + gates, b.to_state = numbers + 2 * gates;
  put_states(buffers);
  const int64_t tiles = tiles_of(f.V) + (f.corrects ? tiles_of(f.K) : 0), columns = tiles_of(f.V, kStateColumns);
  if (s.chunks) launch(solve<T>, buffers.head_chunks() * tiles, kThreads, sizeof(Shared<T>), s, b, tiles);
  launch(pass_states<T>, f.sequences * f.value_heads * columns, kThreads, sizeof(Tile<T>), s, b,
         Passing<T>{q.grad_final, b.states, q.dinitial, true}, columns);
  if (s.chunks) {
    launch(put_pair_gradients<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), s, b);
    for (const bool q_factor : {true, false})
      launch(put_rows<T>, s.chunks * f.heads, kThreads, sizeof(Tile<T>), s, b, q_factor, q_factor ? q.dq : q.dk);
    if (s.q_factor) launch(put_through_norms<T>, warp_blocks(2 * rows), kThreads, 0, s, b, rows);
    if (q.dg) launch(put_gate_gradients<T>, warp_blocks(buffers.head_chunks()), kThreads, 0, s, b);
    if (q.dbeta) launch(put_value_gradients<T>, warp_blocks(gates), kThreads, 0, s, b, gates);
  }
  buffers.check(q.dq, rows * f.K), buffers.check(q.dk, rows * f.K), buffers.check(q.dv, gates * f.V);
  buffers.check(q.dg, gates), buffers.check(q.dbeta, gates), buffers.check(q.dinitial, f.sequences * f.value_heads * f.K * f.V);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
