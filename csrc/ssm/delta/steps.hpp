// The gated delta rule token by token: for decoding, and for sequences too short for matrix products.
#pragma once
#include "ssm/delta/chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int64_t kFewTokens = 8;  // the longest sequence that is processed token by token

template <class T>
double steps_ns(const Problem<T>& s, int64_t tokens) {
  return double(tokens + 1) * 3 * double(s.p.K) * double(s.p.V) * kMultiplyAddNs<T> + 100;
}

template <class T>
class Steps {
 public:
  static int64_t size(const Problem<T>& s) { return kRows * kFewTokens * s.key_columns() + kColumns * s.p.K; }

  // Processes a column of tiles of the state at a time, which stays in L1. Reads the first state twice; writes the last one once.
  static void run(const Problem<T>& s, const HeadSequence& at, T* workspace) {
    Steps steps(s, at, workspace);
    for_columns<T, Rest::narrower>(s.p.V, [&](auto columns, int64_t j) { steps.template run<decltype(columns)>(j); });
  }

 private:
  static constexpr int kColumns = 3 * kLanes<T>, kRows = 5;
  struct Token {
    T *q, *k, *erase, *decays, *known;  // with decays per channel, q and erase are already decayed; `known` is null except for rank two
    T decay, beta, qk, q_known;         // per head; qk, q_known: products of the query with the keys
  };

  Steps(const Problem<T>& problem, const HeadSequence& sequence, T* workspace) : s(problem), at(sequence) {
    for (int64_t t = 0; t < at.length; ++t) {
      Token& now = token[t];
      for (T** row : {&now.q, &now.k, &now.erase, &now.decays, &now.known}) *row = workspace, workspace += s.key_columns();
      prepare(t, now);
    }
    state = workspace;
  }

  void prepare(int64_t t, Token& now) const {
    const int64_t gate = s.gate_at(at, t), K = s.key_columns();
    load_key(s, s.p.q + s.key_at(at, t), now.q), load_key(s, s.p.k + s.key_at(at, t), now.k);
    now.beta = s.p.beta ? s.p.beta[gate] : T(1), now.decay = s.p.g && !s.p.channels ? T(decay(s.p.g[gate])) : T(1);
    now.qk = dot(K, now.q, now.k);
    if (!s.p.channels) {
      now.erase = now.k, now.known = nullptr;
      for (int64_t i = 0; i < K; ++i) now.decays[i] = now.decay;
      return;
    }
    const int64_t from = s.channel_at(at, t);
    load_decay(s.p.K, s.p.g + from, now.decays);
    if (s.p.a) {  // -a reads the state before the decay, and k becomes the known key
      load_row(s.p.K, s.p.a + from, T(-1), now.erase);
      swap_rows(now.k, now.known), now.q_known = now.qk;
      load_row(s.p.K, s.p.b + from, T(1), now.k);
      now.qk = dot(K, now.q, now.k);
    } else {
      s.p.erase ? load_product(s.p.K, s.p.erase + from, now.k, now.erase) : load_row(K, now.k, T(1), now.erase);
      load_product(K, now.erase, now.decays, now.erase);
      now.known = nullptr;
    }
    load_product(K, now.q, now.decays, now.q);
  }
  static void swap_rows(T*& a, T*& b) {
    T* const c = a;
    a = b, b = c;
  }

  // (1), (3) for a few columns of the state.
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
    const Token& now = token[t];
    const T *const q_t = now.q, *const k_t = now.k, *const erase = now.erase, *const decays = now.decays, *const known_key = now.known;
    V by_k[NV], by_q[NV];
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) by_k[v] = by_q[v] = V{};
    for (int64_t i = 0; from && i < s.p.K; ++i) {
      const V k_i = broadcast<V>(erase[i]), q_i = broadcast<V>(q_t[i]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        const V row = keep(load<V>(from + i * from_stride + v * W));
        by_k[v] = multiply_add(k_i, row, by_k[v]);
        by_q[v] = multiply_add(q_i, row, by_q[v]);
      }
    }
    V x[NV], known[NV];
    const int64_t value = s.value_at(at, t) + j;
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) {
      known[v] = load<V>(s.p.v + value + v * W);
      x[v] = known_key ? V{} : known[v];
      if (s.p.write) x[v] *= load<V>(s.p.write + value + v * W);
      if (s.p.corrects) x[v] = now.beta * (x[v] - now.decay * by_k[v]);
      V o = multiply_add(broadcast<V>(now.qk), x[v], V(now.decay * by_q[v]));
      if (known_key) o = multiply_add(broadcast<V>(now.q_known), known[v], o);
      store(s.p.o + value + v * W, V(T(s.p.scale) * o));
    }
    if (!to) return;
    for (int64_t i = 0; i < s.p.K; ++i) {
      const V k_i = broadcast<V>(k_t[i]), e = broadcast<V>(decays[i]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        V next = from ? multiply_add(k_i, x[v], V(e * load<V>(from + i * from_stride + v * W))) : V(k_i * x[v]);
        if (known_key) next = multiply_add(broadcast<V>(known_key[i]), known[v], next);
        store(to + i * to_stride + v * W, next);
      }
    }
  }

  const Problem<T>& s;
  const HeadSequence& at;
  T* state;
  Token token[kFewTokens];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
