// The gated delta rule on a GPU, token by token: for decoding, and for sequences too short for matrix products. README (1)-(3).
#pragma once
#include "ssm/delta/cuda.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int kWarps = kThreads / kWarp;

// Sums over the rows of a state by each warp of a thread block. Two buffers alternate between tokens: one is read while the other is
// written.
template <class T>
struct StepSums {
  T sum[2][2][kWarps][kWarp];
};

// One thread block per 32 columns of a head's state, one lane per column. Each warp processes every eighth row. `rest` (sequences,
// value_heads, K, V) stores the state between tokens; it is null if that is not needed. Reads the state twice per token, the second time
// from cache.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) take_steps(const Call<T> s, T* rest, const int64_t tiles) {
  QF_SHARED(StepSums<T>, sums);
  const DeltaRule<T>& p = s.p;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int odd = 0;
  for (int64_t at = blockIdx.x; at < p.sequences * s.value_heads * tiles; at += gridDim.x) {
    const int64_t row = quotient(at, tiles), n = quotient(row, s.value_heads), head = row - n * s.value_heads;
    const int64_t v = (at - row * tiles) * kWarp + lane, of_state = row * p.K * p.V + v;
    const Span sequence = s.sequence(n);
    if (sequence.tokens > s.few || (s.wrong && *s.wrong)) continue;
    const bool is = v < s.V;
    const T* from = p.initial ? p.initial + of_state : nullptr;
    T* const to = rest ? rest + of_state : nullptr;
    QF_ROLLED
    for (int64_t t = sequence.first; t < sequence.first + sequence.tokens; ++t) {
      const int64_t key = (t * s.heads + quotient(head, s.group)) * s.K, gate = t * s.value_heads + head;
      const T *const q = p.q + key, *const k = p.k + key;
      T qq(0), kk(0), qk(0), by_q(0), by_k(0);
      QF_ROLLED
      for (int i = lane; i < s.K; i += kWarp)
        qq = multiply_add(q[i], q[i], qq), kk = multiply_add(k[i], k[i], kk), qk = multiply_add(q[i], k[i], qk);
      const T q_factor = p.normalizes ? inverse_norm(sum_of_lanes(qq)) : T(1),
              k_factor = p.normalizes ? inverse_norm(sum_of_lanes(kk)) : T(1);
      qk = q_factor * k_factor * sum_of_lanes(qk);
      if (from && is) {
        QF_UNROLL(4)
        for (int i = warp; i < s.K; i += kWarps) {
          const T x = from[int64_t(i) * s.V];
          by_q = multiply_add(q[i], x, by_q), by_k = multiply_add(k[i], x, by_k);
        }
      }
      sums->sum[odd][0][warp][lane] = by_q, sums->sum[odd][1][warp][lane] = by_k;
      __syncthreads();
      by_q = by_k = T(0);
      for (int w = 0; w < kWarps; ++w) by_q += sums->sum[odd][0][w][lane], by_k += sums->sum[odd][1][w][lane];
      odd ^= 1;
      if (!is) continue;
      const T passes = p.g ? T(decay(p.g[gate])) : T(1);
      T x = p.v[gate * s.V + v];
      if (p.corrects) x = (p.beta ? p.beta[gate] : T(1)) * (x - passes * k_factor * by_k);
      if (warp == 0) p.o[gate * s.V + v] = T(p.scale) * multiply_add(qk, x, T(passes * q_factor * by_q));
      if (!to) continue;
      x *= k_factor;
      QF_UNROLL(4)
      for (int i = warp; i < s.K; i += kWarps)
        to[int64_t(i) * s.V] = from ? multiply_add(k[i], x, T(passes * from[int64_t(i) * s.V])) : T(k[i] * x);
      from = to;
    }
    if (sequence.tokens == 0 && to && is) {
      QF_ROLLED
      for (int i = warp; i < s.K; i += kWarps) to[int64_t(i) * s.V] = from ? from[int64_t(i) * s.V] : T(0);
    }
  }
}

template <class T>
void put_steps(const Call<T>& s) {
  const DeltaRule<T>& p = s.p;
  const int64_t heads = p.sequences * p.value_heads, tiles = tiles_of(p.V, kWarp);
  const Workspace<T> between(!p.final && p.length > 1 ? heads * p.K * p.V : 0);
  T* const rest = p.final ? p.final : static_cast<T*>(between);
  launch(take_steps<T>, heads * tiles, kThreads, sizeof(StepSums<T>), s, rest, tiles);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
