// The gated delta rule in chunks: products with a state that stays in L2.
#pragma once
#include "ssm/delta/chunk.hpp"
#include "ssm/delta/steps.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Nanoseconds a chunk of a head: products with the state, and those of pairs of tokens.
template <class T>
double chunk_ns(const Problem<T>& s, double states, double pairs) {
  const double K = double(s.key_columns()), V = double(s.value_columns()), C = double(kChunk);
  return (states * K * V + pairs * C / 2 * (K + V)) * C * kMultiplyAddNs<T>;
}

// (5)-(7) of a chunk: what is written, x, from the state before it; u is x before beta, and may be the same array.
template <class T>
void write_values(Chunk<T>& chunk, const Place& at, int64_t t, Matrix<T> state, Matrix<T> u, Matrix<T> x) {
  const Problem<T>& s = chunk.s;
  const int64_t V = s.p.V, columns = s.value_columns();
  for (int64_t i = 0; i < chunk.rows; ++i)
    if (i < chunk.n)
      load_row(V, s.p.v + s.value_at(at, t + i), T(1), u[i]);
    else
      set_zero(u[i], columns);
  if (!s.p.corrects) return;
  multiply(chunk.rows, s.key_columns(), chunk.scaled_by(chunk.since, chunk.k, T(-1)), state, columns, u, true);
  solve_lower(chunk.rows, columns, chunk.corrects, chunk.beta, u, x);
}

// (9): after <- the state after the chunk, from the one before it; both may be one array.
template <class T>
void advance(Chunk<T>& chunk, Matrix<T> x, Matrix<T> before, Matrix<T> after) {
  using V = Lanes<T>;
  const Problem<T>& s = chunk.s;
  const V total = broadcast<V>(chunk.since[chunk.n - 1]);
  for (int64_t i = 0; i < s.key_columns(); ++i)
    for (int64_t j = 0; j < s.value_columns(); j += kLanes<T>) store(after[i] + j, V(total * load<V>(before[i] + j)));
  const Matrix<T> k = chunk.scaled_by(chunk.until, chunk.k, T(1));
  multiply_transposed(s.key_columns(), chunk.rows, k, x, s.value_columns(), after, true);
}

template <class T>
struct Head {
  static int64_t size(const Problem<T>& s) { return Chunk<T>::size(s) + 2 * s.value_size(kChunk) + s.value_size(s.key_columns()); }

  // Reads q, k, v once, writes o once.
  static void run(const Problem<T>& s, const Place& at, T* room) {
    Chunk<T> chunk(s, room);
    room += Chunk<T>::size(s);
    const Matrix<T> x = s.values(room, kChunk), o = s.values(room, kChunk), state = s.values(room, s.key_columns());
    load_state(s, at, s.p.initial, state);
    const double ns = chunk_ns(s, 3, 2);
    for (int64_t t = 0; t < at.length; t += kChunk) {
      check_interrupt(ns);
      chunk.load(at, t, min(kChunk, at.length - t), true);
      write_values(chunk, at, t, state, x, x);
      multiply(chunk.rows, s.key_columns(), chunk.scaled_by(chunk.since, chunk.q, T(1)), state, s.value_columns(), o, false);
      add_lower_product(chunk.rows, s.value_columns(), chunk.reads, x, o);
      for (int64_t i = 0; i < chunk.n; ++i) store_row(s.p.V, o[i], T(s.p.scale), s.p.o + s.value_at(at, t + i));
      if (s.p.final || t + kChunk < at.length) advance(chunk, x, state, state);
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
