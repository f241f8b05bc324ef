// The gated delta rule token by token: for decoding, and for sequences too short for matrix products.
#pragma once
#include "ssm/delta/chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int64_t kFewTokens = 8;  // the longest sequence taken token by token

template <class T>
double steps_ns(const Problem<T>& s, int64_t tokens) {
  return double(tokens + 1) * 3 * double(s.p.K) * double(s.p.V) * kMultiplyAddNs<T> + 100;
}

template <class T>
class Steps {
 public:
  static int64_t size(const Problem<T>& s) { return 2 * kFewTokens * s.key_columns() + kColumns * s.p.K; }

  // A column of tiles of the state at a time, which stays in L1: reads the first state twice, writes the last one once.
  static void run(const Problem<T>& s, const Place& at, T* room) {
    Steps steps(s, at, room);
    for_columns<T, Rest::apart>(s.p.V, [&](auto columns, int64_t j) { steps.template run<decltype(columns)>(j); });
  }

 private:
  static constexpr int kColumns = 3 * kLanes<T>;
  struct Token {
    T decay, beta, qk;
  };

  Steps(const Problem<T>& problem, const Place& place, T* room) : s(problem), at(place), q(room), k(q + kFewTokens * s.key_columns()) {
    state = k + kFewTokens * s.key_columns();
    for (int64_t t = 0; t < at.length; ++t) {
      T *const q_t = q + t * s.key_columns(), *const k_t = k + t * s.key_columns();
      load_key(s, s.p.q + s.key_at(at, t), q_t), load_key(s, s.p.k + s.key_at(at, t), k_t);
      const int64_t gate = s.gate_at(at, t);
      token[t] = {s.p.g ? T(decay(s.p.g[gate])) : T(1), s.p.beta ? s.p.beta[gate] : T(1), dot(s.key_columns(), q_t, k_t)};
    }
  }

  // (1), (3) for some columns of the state.
  template <class Columns>
  void run(int64_t j) {
    const T* from = s.p.initial ? s.p.initial + s.state_at(at) + j : nullptr;
    int64_t from_stride = s.p.V;
    for (int64_t t = 0; t < at.length; ++t) {
      const bool last = t + 1 == at.length;
      T* const to = !last ? state : s.p.final ? s.p.final + s.state_at(at) + j : nullptr;
      const int64_t to_stride = last ? s.p.V : Columns::count;
      step<Columns::vectors, typename Columns::Vector>(t, j, from, from_stride, to, to_stride);
      from = to, from_stride = to_stride;
    }
    if (at.length == 0 && s.p.final)
      for (int64_t i = 0; i < s.p.K; ++i)
        for (int64_t c = 0; c < Columns::count; ++c) s.p.final[s.state_at(at) + i * s.p.V + j + c] = from ? from[i * s.p.V + c] : T(0);
  }

  template <int NV, class V>
  void step(int64_t t, int64_t j, const T* from, int64_t from_stride, T* to, int64_t to_stride) const {
    constexpr int W = kWidth<V>;
    const T *const q_t = q + t * s.key_columns(), *const k_t = k + t * s.key_columns();
    const Token& now = token[t];
    V by_k[NV], by_q[NV];
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) by_k[v] = by_q[v] = V{};
    for (int64_t i = 0; from && i < s.p.K; ++i) {
      const V k_i = broadcast<V>(k_t[i]), q_i = broadcast<V>(q_t[i]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        const V row = keep(load<V>(from + i * from_stride + v * W));
        by_k[v] = multiply_add(k_i, row, by_k[v]);
        by_q[v] = multiply_add(q_i, row, by_q[v]);
      }
    }
    V x[NV];
    const int64_t value = s.value_at(at, t) + j;
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) {
      x[v] = load<V>(s.p.v + value + v * W);
      if (s.p.corrects) x[v] = now.beta * (x[v] - now.decay * by_k[v]);
      store(s.p.o + value + v * W, V(T(s.p.scale) * multiply_add(broadcast<V>(now.qk), x[v], V(now.decay * by_q[v]))));
    }
    if (!to) return;
    const V e = broadcast<V>(now.decay);
    for (int64_t i = 0; i < s.p.K; ++i) {
      const V k_i = broadcast<V>(k_t[i]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v)
        store(to + i * to_stride + v * W, from ? multiply_add(k_i, x[v], V(e * load<V>(from + i * from_stride + v * W))) : V(k_i * x[v]));
    }
  }

  const Problem<T>& s;
  const Place& at;
  T *const q, *const k;
  T* state;
  Token token[kFewTokens];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
