// The gated delta rule in chunks: products with a state that stays in L2.
#pragma once
#include "ssm/delta/chunk_forward.hpp"
#include "ssm/delta/steps.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Nanoseconds per chunk of a head: `states` for products with the state, `pairs` for products of pairs of tokens.
template <class T>
double chunk_ns(const Problem<T>& s, double states, double pairs) {
  const double K = double(s.key_columns()), V = double(s.value_columns()), C = double(s.chunk);
  return (states * K * V + pairs * C / 2 * (K + V)) * C * kMultiplyAddNs<T>;
}

// A chunk's rows of v, or of a similar array, are used in place if they need no padding: whole vectors, and a multiple of kRowUnit rows.
// Otherwise, or to multiply them by `write`, they are copied to padded rows.
template <class T>
bool in_place(const Problem<T>& s, const Chunk<T>& chunk) {
  return s.p.V == s.value_columns() && chunk.n == chunk.rows;
}
template <class T>
Matrix<const T> value_rows(const Chunk<T>& chunk, const HeadSequence& at, int64_t t, const T* from, Matrix<T> copy) {
  const Problem<T>& s = chunk.s;
  if (in_place(s, chunk) && !s.p.write) return {from + s.value_at(at, t), s.p.value_heads * s.p.V};
  for (int64_t i = 0; i < chunk.rows; ++i)
    if (i < chunk.n) {
      load_row(s.p.V, from + s.value_at(at, t + i), T(1), copy[i]);
      if (s.p.write) load_product(s.p.V, s.p.write + s.value_at(at, t + i), copy[i], copy[i]);
    } else {
      set_zero(copy[i], s.value_columns());
    }
  return {copy.at, copy.stride};
}

// Sets v to the values of a chunk. For rank two, sets `known` (25) to them, and v to zeros.
template <class T>
void load_values(const Chunk<T>& chunk, const HeadSequence& at, int64_t t, Matrix<T> copy, const T* zeros, ChunkForward<T>& to) {
  to.v = value_rows(chunk, at, t, chunk.s.p.v, copy);
  if (chunk.s.p.a) to.known = to.v, to.v = {zeros, 0};
}

// Neighbouring heads are processed together, one chunk of each in turn, because a page of memory contains rows of all of them.
constexpr int64_t kTogether = 4;
constexpr int64_t kStateBytes = 512 << 10;  // maximum size of their states, which stay in L2

template <class T>
int64_t heads_together(const Problem<T>& s) {
  int64_t count = kTogether;
  const int64_t tasks = s.p.sequences * s.p.value_heads, state = s.value_size(s.key_columns()) * int64_t(sizeof(T));
  while (count > 1 && (count * state > kStateBytes || tasks < 2 * count * threads_used(s.p.threads))) count /= 2;
  return count;
}

template <class T>
class Heads {
 public:
  static int64_t size(const Problem<T>& s) {
    return Chunk<T>::size(s) + s.value_size(3 * kChunk + 1) + kTogether * s.value_size(s.key_columns());
  }
  // `workspace` is empty if all sequences are known to be short, so the constructor does not write to it.
  Heads(const Problem<T>& problem, T* workspace) : s(problem), chunk(problem, workspace) {
    workspace += Chunk<T>::size(s);
    v = s.values(workspace, kChunk), x = s.values(workspace, kChunk), o = s.values(workspace, kChunk), zeros = s.values(workspace, 1).at;
    for (Matrix<T>& state : states) state = s.values(workspace, s.key_columns());
  }

  // Processes heads [at.head, at.head + count) of a sequence. Reads q, k, v once; writes o once.
  void run(const HeadSequence& at, int64_t count) {
    set_zero(zeros, s.value_columns());
    for (int64_t h = 0; h < count; ++h) load_state(s, at_head(at, h), s.p.initial, states[h]);
    const double ns = chunk_ns(s, 3, 2);
    for (int64_t t = 0; t < at.length; t += s.chunk)
      for (int64_t h = 0; h < count; ++h) {
        check_interrupt(ns);
        const bool last = h + 1 == count;
        one_chunk(at_head(at, h), t, states[h], next_rows(at_head(at, last ? 0 : h + 1), last ? t + s.chunk : t));
      }
    for (int64_t h = 0; s.p.final && h < count; ++h) store_state(s, at_head(at, h), states[h], s.p.final);
  }

 private:
  static HeadSequence at_head(HeadSequence at, int64_t h) {
    at.head += h;
    return at;
  }

  NextRows<T> next_rows(const HeadSequence& at, int64_t t) const {
    NextRows<T> next(s);
    const int64_t rows = min(s.chunk, at.length - t), stride = s.p.heads * s.p.K;
    next.add(s.p.k + s.key_at(at, t), stride, s.p.K, rows), next.add(s.p.q + s.key_at(at, t), stride, s.p.K, rows);
    if (s.p.channels) next.add(s.p.g + s.channel_at(at, t), s.p.value_heads * s.p.K, s.p.K, rows);
    return next;
  }

  void one_chunk(const HeadSequence& at, int64_t t, Matrix<T> state, NextRows<T> next) {
    chunk.load(at, t, min(s.chunk, at.length - t), true);
    ChunkForward<T> a{};
    load_values(chunk, at, t, v, zeros, a);
    a.x = x, a.before = state;
    const bool direct = in_place(s, chunk);
    a.o = direct ? Matrix<T>{s.p.o + s.value_at(at, t), s.p.value_heads * s.p.V} : o;
    if (s.p.final || t + s.chunk < at.length) a.after = state, a.written = chunk.written();
    pass(chunk, a, next);
    for (int64_t i = 0; !direct && i < chunk.n; ++i) store_row(s.p.V, o[i], T(1), s.p.o + s.value_at(at, t + i));
  }

  const Problem<T>& s;
  Chunk<T> chunk;
  Matrix<T> v, x, o;
  T* zeros;
  Matrix<T> states[kTogether];
};

template <class T>
void delta_rule(const DeltaRule<T>& p) {
  const Problem<T> s(p, kForwardChunk);
  if (p.K == 0 || p.V == 0) set_zero(p.o, p.B * p.length * p.value_heads * p.V);
  if (p.sequences * p.value_heads == 0 || p.K == 0 || p.V == 0) return;
  const int64_t length = p.begins ? p.length / p.sequences : p.length;  // average length
  const int64_t together = heads_together(s), groups = (p.value_heads + together - 1) / together;
  const double ns = max(steps_ns(s, min(length, kFewTokens)), double(s.chunks(length - kFewTokens)) * chunk_ns(s, 3, 2));
  parallel_for(p.sequences * groups, p.threads, ns * double(together), [&](int64_t begin, int64_t end) {
    const Scratch<T> steps_workspace(Steps<T>::size(s)), workspace(length > kFewTokens || p.begins ? Heads<T>::size(s) : 0);
    Heads<T> heads(s, workspace);
    for (int64_t task = begin; task < end; ++task) {
      HeadSequence at = s.head_sequence(task / groups, task % groups * together);
      const int64_t stop = min(at.head + together, p.value_heads);
      if (at.length > kFewTokens)
        heads.run(at, stop - at.head);
      else
        for (; at.head < stop; ++at.head) Steps<T>::run(s, at, steps_workspace);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
