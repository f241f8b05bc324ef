// The gated delta rule in chunks: products with a state that stays in L2.
#pragma once
#include "ssm/delta/passage.hpp"
#include "ssm/delta/steps.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Nanoseconds a chunk of a head: products with the state, and those of pairs of tokens.
template <class T>
double chunk_ns(const Problem<T>& s, double states, double pairs) {
  const double K = double(s.key_columns()), V = double(s.value_columns()), C = double(kChunk);
  return (states * K * V + pairs * C / 2 * (K + V)) * C * kMultiplyAddNs<T>;
}

// Rows of v, or of an array like it, of a chunk: where they lie if they are whole vectors and whole rows of tiles, else a padded copy.
template <class T>
bool in_place(const Problem<T>& s, const Chunk<T>& chunk) {
  return s.p.V == s.value_columns() && chunk.n == chunk.rows;
}
template <class T>
Matrix<const T> value_rows(const Chunk<T>& chunk, const Place& at, int64_t t, const T* from, Matrix<T> copy) {
  const Problem<T>& s = chunk.s;
  if (in_place(s, chunk)) return {from + s.value_at(at, t), s.p.value_heads * s.p.V};
  for (int64_t i = 0; i < chunk.rows; ++i)
    if (i < chunk.n)
      load_row(s.p.V, from + s.value_at(at, t + i), T(1), copy[i]);
    else
      set_zero(copy[i], s.value_columns());
  return {copy.at, copy.stride};
}

template <class T>
struct Head {
  static int64_t size(const Problem<T>& s) { return Chunk<T>::size(s) + 3 * s.value_size(kChunk) + s.value_size(s.key_columns()); }

  // Reads q, k, v once, writes o once.
  static void run(const Problem<T>& s, const Place& at, T* room) {
    Chunk<T> chunk(s, room);
    room += Chunk<T>::size(s);
    const Matrix<T> v = s.values(room, kChunk), x = s.values(room, kChunk), o = s.values(room, kChunk), state = s.values(room, s.key_columns());
    load_state(s, at, s.p.initial, state);
    const double ns = chunk_ns(s, 3, 2);
    for (int64_t t = 0; t < at.length; t += kChunk) {
      check_interrupt(ns);
      const int64_t left = at.length - t - kChunk;  // for the chunks to come
      chunk.load(at, t, min(kChunk, at.length - t), true);
      Passage<T> a{};
      const Matrix<const T> values = value_rows(chunk, at, t, s.p.v, v);
      a.v = values.at, a.v_stride = values.stride, a.x = x, a.before = state;
      a.o = in_place(s, chunk) ? Matrix<T>{s.p.o + s.value_at(at, t), s.p.value_heads * s.p.V} : o;
      if (s.p.final || left > 0) a.after = state, a.k_behind = chunk.scaled_by(chunk.until, chunk.k, T(1));
      pass(chunk, a, left > 0 ? NextRows<T>(s, at, t + kChunk, min(kChunk, left)) : NextRows<T>());
      if (!in_place(s, chunk))
        for (int64_t i = 0; i < chunk.n; ++i) store_row(s.p.V, o[i], T(1), s.p.o + s.value_at(at, t + i));
    }
    if (s.p.final) store_state(s, at, state, s.p.final);
  }
};

template <class T>
void delta_rule(const DeltaRule<T>& p) {
  const Problem<T> s(p);
  const int64_t tasks = p.sequences * p.value_heads;
  if (p.K == 0 || p.V == 0) set_zero(p.o, p.B * p.length * p.value_heads * p.V);
  if (tasks == 0 || p.K == 0 || p.V == 0) return;
  const int64_t length = p.begins ? p.length / p.sequences : p.length;  // on average
  const double ns = max(steps_ns(s, min(length, kFewTokens)), double(s.chunks(length - kFewTokens)) * chunk_ns(s, 3, 2));
  parallel_for(tasks, p.threads, ns, [&](int64_t begin, int64_t end) {
    const Scratch<T> steps_room(Steps<T>::size(s)), room(length > kFewTokens || p.begins ? Head<T>::size(s) : 0);
    for (int64_t task = begin; task < end; ++task) {
      const Place at = s.place(task / p.value_heads, task % p.value_heads);
      at.length <= kFewTokens ? Steps<T>::run(s, at, steps_room) : Head<T>::run(s, at, room);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
