// The adjoint of the gated delta rule in chunks. README (10)-(18).
#pragma once
#include "ssm/delta/forward.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Sums over pairs of tokens j < i of what the decay from j to i gets, times that decay: those with i, less those with j, are a token's.
struct DecayGradient {
  double of[kChunk];
  void clear() {
    for (double& x : of) x = 0;
  }
  void add(int64_t i, int64_t j, double x) { of[i] += x, of[j] -= x; }
  // Pairs of token i with those before `count`, a multiple of the lanes; what it gets with itself cancels.
  template <class T>
  void add_row(int64_t i, int64_t count, const T* dm, const T* m) {
    using V = Lanes<double>;
    V total{};
    for (int64_t j = 0; j < count; j += kLanes<double>) {
      const V x = load_as<V>(dm + j) * load_as<V>(m + j);
      quatrefoil::store(of + j, V(load<V>(of + j) - x));
      total += x;
    }
    of[i] += sum(total);
  }
  // (17) What token t gets is the sum from t on.
  template <class T>
  void store(int64_t n, T* to, int64_t stride) const {
    double total = 0;
    for (int64_t i = n - 1; i >= 0; --i) total += of[i], to[i * stride] = T(total);
  }
};

template <class T>
class HeadAdjoint {
 public:
  static int64_t size(const Problem<T>& s) {
    return Chunk<T>::size(s) + 2 * s.pair_size(kChunk) + s.pair_size(s.value_columns()) + 3 * s.key_size(kChunk) +
           4 * s.value_size(kChunk) + s.value_size(s.key_columns()) + s.key_size(s.value_columns());
  }
  // States before every chunk, and u of all tokens.
  static int64_t kept_size(const Problem<T>& s, int64_t length) {
    return s.value_size(max<int64_t>(s.chunks(length), 1) * s.key_columns() + s.chunks(length) * kChunk);
  }

  HeadAdjoint(const DeltaRuleAdjoint<T>& args, const Problem<T>& problem, T* room) : p(args), s(problem), chunk(problem, room) {
    room += Chunk<T>::size(s);
    dreads = s.pairs(room, kChunk), dcorrects = s.pairs(room, kChunk), x_transposed = s.pairs(room, s.value_columns());
    dq = s.keys(room, kChunk), dk = s.keys(room, kChunk), product = s.keys(room, kChunk);
    x = s.values(room, kChunk), grad = s.values(room, kChunk), y = s.values(room, kChunk), z = s.values(room, kChunk);
    dstate = s.values(room, s.key_columns()), transposed = s.keys(room, s.value_columns());
  }

  // `first`: of the value heads that share a query; the others add to its gradient.
  void run(const Place& at, T* kept, bool first) {
    states = s.values(kept, max<int64_t>(s.chunks(at.length), 1) * s.key_columns()), us = s.values(kept, s.chunks(at.length) * kChunk);
    const int64_t last = s.chunks(at.length) - 1;
    load_state(s, at, s.p.initial, states);
    for (int64_t c = 0; c <= last; ++c) {
      check_interrupt(chunk_ns(s, 2, 1));
      load_chunk(at, c, false);
      Passage<T> a{};
      const Matrix<const T> values = value_rows(chunk, at, c * kChunk, s.p.v, grad);
      a.v = values.at, a.v_stride = values.stride, a.u = s.p.corrects ? u(c) : Matrix<T>{}, a.x = s.p.corrects ? x : u(c), a.before = state(c);
      if (c < last) a.after = state(c + 1), a.k_behind = chunk.scaled_by(chunk.until, chunk.k, T(1));
      pass(chunk, a, NextRows<T>());
    }
    load_state(s, at, p.grad_final, dstate);
    for (int64_t c = last; c >= 0; --c) {
      check_interrupt(chunk_ns(s, 6, 5));
      load_chunk(at, c, true);
      back(at, c, first);
    }
    if (p.dinitial) store_state(s, at, dstate, p.dinitial);
  }

 private:
  Matrix<T> state(int64_t c) const { return {states[c * s.key_columns()], states.stride}; }
  Matrix<T> u(int64_t c) const { return {us[c * kChunk], us.stride}; }
  void load_chunk(const Place& at, int64_t c, bool with_q) { chunk.load(at, c * kChunk, min(kChunk, at.length - c * kChunk), with_q); }

  void back(const Place& at, int64_t c, bool first) {
    const int64_t t = c * kChunk, n = chunk.n, rows = chunk.rows, columns = s.value_columns();
    for (int64_t i = 0; i < rows; ++i)
      if (i < n)
        load_row(s.p.V, p.grad + s.value_at(at, t + i), T(s.p.scale), grad[i]);
      else
        set_zero(grad[i], columns);
    if (s.p.corrects)
      scale_rows(rows, columns, chunk.beta, u(c), x);
    else
      scale_rows(rows, columns, ones(), u(c), x);
    // (12), (13), (14)
    multiply(rows, s.key_columns(), chunk.scaled_by(chunk.until, chunk.k, T(1)), dstate, columns, y, false);
    add_lower_transposed(rows, columns, chunk.reads, grad, y);
    Matrix<T> dv = y;
    if (s.p.corrects) solve_lower_transposed(rows, columns, chunk.corrects, chunk.beta, y, z), dv = z;
    for (int64_t i = 0; i < n; ++i) store_row(s.p.V, dv[i], T(1), p.dv + s.value_at(at, t + i));
    if (p.dbeta)
      for (int64_t i = 0; i < n; ++i) p.dbeta[s.gate_at(at, t + i)] = dot(columns, y[i], u(c)[i]);

    of_decays.clear();
    through_pairs();
    through_states(state(c));
    add_pairs();
    if (p.dg) of_decays.store(n, p.dg + s.gate_at(at, t), s.p.value_heads);
    before_chunk();
    for (int64_t i = 0; i < n; ++i) {
      store_key(first, chunk.of_q[i], chunk.q[i], dq[i], p.dq + s.key_at(at, t + i));
      store_key(first, chunk.of_k[i], chunk.k[i], dk[i], p.dk + s.key_at(at, t + i));
    }
  }

  const T* ones() const {
    for (int64_t i = 0; i < kChunk; ++i) chunk.factor[i] = 1;
    return chunk.factor;
  }

  // (15) What the products of queries and keys, and of keys, get.
  void through_pairs() {
    const int64_t rows = chunk.rows, columns = s.value_columns();
    transpose_to(rows, columns, x, x_transposed);
    multiply_to_lower(rows, columns, grad, x_transposed, dreads);
    if (s.p.corrects) multiply_to_lower(rows, columns, z, x_transposed, dcorrects);
    for (int64_t i = 0; i < rows; ++i) {
      const T* const d = chunk.decays[i];
      const int64_t end = (i / kBlock + 1) * kBlock;
      pair_row(i, d, chunk.reads[i], i + 1, end, T(1), dreads[i]);
      if (s.p.corrects) pair_row(i, d, chunk.corrects[i], i, end, T(-1), dcorrects[i]);
    }
  }
  void pair_row(int64_t i, const T* d, const T* m, int64_t count, int64_t end, T sign, T* dm) {
    for (int64_t j = count; j < end; ++j) dm[j] = 0;
    of_decays.add_row(i, end, dm, m);
    for (int64_t j = 0; j < count; ++j) dm[j] *= sign * d[j];
  }

  // (16) What is read from the state before the chunk, and what is written to the one behind it.
  void through_states(Matrix<T> state) {
    const int64_t rows = chunk.rows, n = chunk.n, K = s.key_columns(), columns = s.value_columns();
    transpose_to(K, columns, state, transposed);
    multiply(rows, columns, grad, transposed, K, dq, false);
    for (int64_t i = 0; i < rows; ++i) of_start(i, chunk.since[i], chunk.q[i], dq[i]);
    if (s.p.corrects) multiply(rows, columns, z, transposed, K, dk, false);
    for (int64_t i = 0; i < rows; ++i)
      if (s.p.corrects)
        of_start(i, -chunk.since[i], chunk.k[i], dk[i]);
      else
        set_zero(dk[i], K);
    transpose_to(K, columns, dstate, transposed);
    multiply(rows, columns, x, transposed, K, product, false);
    using V = Lanes<T>;
    for (int64_t i = 0; i < n; ++i) {
      if (i < n - 1) of_decays.add(n - 1, i, double(chunk.until[i]) * double(dot(K, chunk.k[i], product[i])));
      const V factor = broadcast<V>(chunk.until[i]);
      for (int64_t j = 0; j < K; j += kLanes<T>) store(dk[i] + j, multiply_add(factor, load<V>(product[i] + j), load<V>(dk[i] + j)));
    }
    if (!p.dg) return;
    double both = 0;
    for (int64_t i = 0; i < s.p.K; ++i) both += double(dot(columns, dstate[i], state[i]));
    of_decays.of[n - 1] += double(chunk.since[n - 1]) * both;
  }
  // d <- factor d, the gradient of a row that read the state before the chunk.
  void of_start(int64_t i, T factor, const T* row, T* d) {
    using V = Lanes<T>;
    for (int64_t j = 0; j < s.key_columns(); j += kLanes<T>) store(d + j, V(broadcast<V>(factor) * load<V>(d + j)));
    of_decays.of[i] += double(dot(s.key_columns(), row, d));
  }

  // (16) The products of pairs again: dq += dreads k, dk += dreads^T q + (dcorrects + dcorrects^T) k.
  void add_pairs() {
    const int64_t rows = chunk.rows, K = s.key_columns();
    add_lower(rows, K, dreads, chunk.k, dq);
    add_lower_transposed(rows, K, dreads, chunk.q, dk);
    if (!s.p.corrects) return;
    add_lower(rows, K, dcorrects, chunk.k, dk);
    add_lower_transposed(rows, K, dcorrects, chunk.k, dk);
  }

  // (18) dstate becomes the gradient of the state before the chunk.
  void before_chunk() {
    using V = Lanes<T>;
    const int64_t rows = chunk.rows, K = s.key_columns(), columns = s.value_columns();
    const V total = broadcast<V>(chunk.since[chunk.n - 1]);
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j < columns; j += kLanes<T>) store(dstate[i] + j, V(total * load<V>(dstate[i] + j)));
    multiply_transposed(K, rows, chunk.scaled_by(chunk.since, chunk.q, T(1)), grad, columns, dstate, true);
    if (s.p.corrects) multiply_transposed(K, rows, chunk.scaled_by(chunk.since, chunk.k, T(-1)), z, columns, dstate, true);
  }

  // Back through (2), x = f given with f = (given.given + eps)^-1/2: f (d - x (x.d)).
  void store_key(bool first, T f, const T* x, T* d, T* to) const {
    using V = Lanes<T>;
    const int64_t K = s.key_columns();
    if (s.p.normalizes) {
      const V along = broadcast<V>(-dot(K, x, d));
      for (int64_t j = 0; j < K; j += kLanes<T>) store(d + j, V(broadcast<V>(f) * multiply_add(along, load<V>(x + j), load<V>(d + j))));
    }
    if (first) return store_row(s.p.K, d, T(1), to);
    for (int64_t j = 0; j < s.p.K; j += kLanes<T>) store_first(to + j, V(load_first<V>(to + j, s.p.K - j) + load<V>(d + j)), s.p.K - j);
  }

  const DeltaRuleAdjoint<T>& p;
  const Problem<T>& s;
  Chunk<T> chunk;
  Matrix<T> dreads, dcorrects, x_transposed;
  Matrix<T> dq, dk, product;
  Matrix<T> x, grad, y, z;
  Matrix<T> dstate, transposed;
  Matrix<T> states, us;
  DecayGradient of_decays;
};

template <class T>
void delta_rule_adjoint(const DeltaRuleAdjoint<T>& p) {
  const DeltaRule<T>& f = p.forward;
  const Problem<T> s(f);
  if (f.K == 0 || f.V == 0 || f.value_heads == 0) {  // sums over nothing
    const int64_t tokens = f.B * f.length;
    for (T* x : {p.dq, p.dk}) set_zero(x, tokens * f.heads * f.K);
    set_zero(p.dv, tokens * f.value_heads * f.V);
    for (T* x : {p.dg, p.dbeta}) set_zero(x, tokens * f.value_heads);
    return;
  }
  const int64_t tasks = f.sequences * f.heads, length = f.sequences ? f.B * f.length / f.sequences : 0;
  const double ns = double(s.group) * double(s.chunks(length)) * (chunk_ns(s, 2, 1) + chunk_ns(s, 6, 5));
  parallel_for(tasks, f.threads, ns, [&](int64_t begin, int64_t end) {
    const Scratch<T> room(HeadAdjoint<T>::size(s));
    HeadAdjoint<T> head(p, s, room);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t sequence = task / f.heads, key_head = task % f.heads;
      const Scratch<T> kept(HeadAdjoint<T>::kept_size(s, s.place(sequence, 0).length));
      for (int64_t member = 0; member < s.group; ++member) head.run(s.place(sequence, key_head * s.group + member), kept, member == 0);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
