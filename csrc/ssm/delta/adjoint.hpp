// The adjoint in chunks. README (10)-(18), (23)-(25).
#pragma once
#include "ssm/delta/chunk_backward.hpp"
#include "ssm/delta/forward.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

template <class T>
class HeadAdjoint {
 public:
  static int64_t size(const Problem<T>& s) {
    const int64_t channels = 5 * s.key_size(kChunk) + 2 * s.key_size(kBlock) + 2 * s.key_columns() + 2 * s.pair_size(s.key_columns()) +
                             2 * s.pair_size(kChunk) + s.key_columns();
    return Chunk<T>::size(s) + 4 * s.pair_size(kChunk) + 3 * s.pair_size(s.key_columns()) + 4 * s.pair_size(s.value_columns()) +
           3 * s.key_size(kChunk) + s.value_size(6 * kChunk + 1) + s.value_size(s.key_columns()) + (s.p.channels ? channels : 0);
  }
  // States before each chunk, and u of all tokens; with a decay per channel also the pairs of tokens.
  static int64_t buffer_size(const Problem<T>& s, int64_t length) {
    const int64_t pairs = s.p.channels ? s.chunks(length) * Chunk<T>::pairs_size(s) : 0;
    return s.value_size(max<int64_t>(s.chunks(length), 1) * s.key_columns() + s.chunks(length) * s.chunk) + pairs;
  }

  HeadAdjoint(const DeltaRuleAdjoint<T>& args, const Problem<T>& problem, T* workspace) : p(args), s(problem), chunk(problem, workspace) {
    workspace += Chunk<T>::size(s);
    for (Matrix<T>* m : {&a.dreads, &a.dreads_t, &a.dcorrects, &dcorrects}) *m = s.pairs(workspace, kChunk);
    for (Matrix<T>* m : {&a.qt, &a.dqt, &a.dkt}) *m = s.pairs(workspace, s.key_columns());
    for (Matrix<T>* m : {&a.xt, &a.wt, &a.zt, &known_t}) *m = s.pairs(workspace, s.value_columns());
    for (Matrix<T>* m : {&a.q_from_start, &a.k_from_start, &rows_of_keys}) *m = s.keys(workspace, kChunk);
    for (Matrix<T>* m : {&a.x, &a.w, &a.y, &a.z, &a.dknown, &values}) *m = s.values(workspace, kChunk);
    zeros = s.values(workspace, 1).at, a.dstate = s.values(workspace, s.key_columns());
    set_zero(zeros, s.value_columns());
    if (!s.p.channels) return;
    for (Matrix<T>* m : {&dq, &de, &dk, &dknown, &dlogs}) *m = s.keys(workspace, kChunk);
    for (Matrix<T>* m : {&early_key, &early_known}) *m = s.keys(workspace, kBlock);
    for (Matrix<T>* m : {&a.det, &a.dkt_known}) *m = s.pairs(workspace, s.key_columns());
    for (Matrix<T>* m : {&known_dreads, &known_dcorrects}) *m = s.pairs(workspace, kChunk);
    a.both = workspace, through[0] = workspace + s.key_columns(), through[1] = workspace + 2 * s.key_columns();
  }

  // `first`: whether this is the first of the value heads that share a query; the others add to its gradient.
  void run(const HeadSequence& at, T* buffer, bool first) {
    states = s.values(buffer, max<int64_t>(s.chunks(at.length), 1) * s.key_columns()), us = s.values(buffer, s.chunks(at.length) * s.chunk);
    pairs = buffer;
    const int64_t last = s.chunks(at.length) - 1;
    load_state(s, at, s.p.initial, states);
    for (int64_t c = 0; c <= last; ++c) {
      check_interrupt(chunk_ns(s, 2, 1));
      load_chunk(at, c, s.p.channels, true);
      ChunkForward<T> f{};
      load_values(chunk, at, c * s.chunk, values, zeros, f);
      f.u = s.p.corrects ? u(c) : Matrix<T>{}, f.x = s.p.corrects ? a.x : u(c);
      f.before = state(c);
      if (c < last) f.after = state(c + 1), f.written = chunk.written();
      NextRows<T> next(s);
      const int64_t t = (c + 1) * s.chunk, rows = min(s.chunk, at.length - t);
      next.add(s.p.k + s.key_at(at, t), keys_apart(), s.p.K, rows);
      if (s.p.channels) next.add(s.p.q + s.key_at(at, t), keys_apart(), s.p.K, rows), add_channels(next, at, t, rows);
      pass(chunk, f, next);
    }
    load_state(s, at, p.grad_final, a.dstate);
    for (int64_t c = last; c >= 0; --c) {
      check_interrupt(chunk_ns(s, 6, 5));
      load_chunk(at, c, true, !s.p.channels);
      back(at, c, first);
    }
    if (p.dinitial) store_state(s, at, a.dstate, p.dinitial);
  }

 private:
  Matrix<T> state(int64_t c) const { return {states[c * s.key_columns()], states.stride}; }
  Matrix<T> u(int64_t c) const { return {us[c * s.chunk], us.stride}; }
  void load_chunk(const HeadSequence& at, int64_t c, bool with_q, bool with_pairs) {
    if (s.p.channels) chunk.put_pairs(pairs + c * Chunk<T>::pairs_size(s));
    chunk.load(at, c * s.chunk, min(s.chunk, at.length - c * s.chunk), with_q, with_pairs);
  }

  int64_t keys_apart() const { return s.p.heads * s.p.K; }
  int64_t values_apart() const { return s.p.value_heads * s.p.V; }

  void back(const HeadSequence& at, int64_t c, bool first) {
    const int64_t t = c * s.chunk, columns = s.value_columns();
    load_rows(at, c);
    T written[kChunk];
    if (s.p.channels)
      state_products(chunk, a.dstate, a.xt, a.dkt);
    else
      key_gradients_of_state(chunk, a, written);
    if (s.p.a) state_products(chunk, a.dstate, known_t, a.dkt_known);
    NextRows<T> next = rows_before(at, c);
    double both = 0;
    for_columns<T, Rest::skipped>(columns, [&](auto some, int64_t j) {
      using C = decltype(some);
      solve_back_columns<C::vectors, typename C::Vector>(chunk, a, j);
      if (s.p.a) known_columns<C::vectors, typename C::Vector>(chunk, a, j);
      both += leave_columns<C::vectors, typename C::Vector>(chunk, a, j, next);
    });
    transpose_to(chunk.rows, columns, a.z, a.zt);
    if (s.p.channels)
      through_channels(at, t, first);
    else
      through_heads(at, t, first, written, both);
    store_values(at, t);
    if (p.dbeta)
      for (int64_t i = 0; i < chunk.n; ++i) p.dbeta[s.gate_at(at, t + i)] = dot(columns, a.y[i], u(c)[i]);
  }

  // Computes all parts of a chunk that do not depend on the gradient of the state after it.
  void load_rows(const HeadSequence& at, int64_t c) {
    const int64_t t = c * s.chunk, n = chunk.n, rows = chunk.rows, K = s.key_columns(), columns = s.value_columns();
    for (int64_t i = 0; i < rows; ++i)
      if (i < n)
        load_row(s.p.V, p.grad + s.value_at(at, t + i), T(s.p.scale), a.w[i]);
      else
        set_zero(a.w[i], columns);
    scale_rows(rows, columns, s.p.corrects ? chunk.beta : ones(), u(c), a.x);
    scale_rows(rows, K, chunk.read_weight, chunk.reading, a.q_from_start),
        scale_rows(rows, K, chunk.erase_weight, chunk.erasing, a.k_from_start);
    transpose_to(rows, columns, a.x, a.xt), transpose_to(rows, columns, a.w, a.wt);
    if (!s.p.channels) transpose_to(rows, K, chunk.q, a.qt);
    a.state = state(c);
    a.dv = in_place(s, chunk) && !s.p.write && !s.p.a ? Matrix<T>{p.dv + s.value_at(at, t), values_apart()} : Matrix<T>{};
    decay_gradient.clear();
    if (s.p.channels) set_zero(a.both, K);
    if (!s.p.a) return;
    for (int64_t i = 0; i < rows; ++i)
      if (i < n)
        load_row(s.p.V, s.p.v + s.value_at(at, t + i), T(1), values[i]);
      else
        set_zero(values[i], columns);
    transpose_to(rows, columns, values, known_t);
  }

  // Prefetches the outputs of this chunk and the inputs of the previous one.
  NextRows<T> rows_before(const HeadSequence& at, int64_t c) const {
    const int64_t t = c * s.chunk;
    NextRows<T> next(s);
    for (T* to : {p.dq, p.dk}) next.add(to + s.key_at(at, t), keys_apart(), s.p.K, chunk.n, true);
    for (T* to : {p.dg, p.da, p.db, p.derase})
      if (s.p.channels && to) next.add(to + s.channel_at(at, t), s.p.value_heads * s.p.K, s.p.K, chunk.n, true);
    if (c == 0) return next;
    const int64_t key = s.key_at(at, t - s.chunk);
    next.add(s.p.k + key, keys_apart(), s.p.K, s.chunk), next.add(s.p.q + key, keys_apart(), s.p.K, s.chunk);
    next.add(p.grad + s.value_at(at, t - s.chunk), values_apart(), s.p.V, s.chunk);
    if (s.p.channels) add_channels(next, at, t - s.chunk, s.chunk);
    return next;
  }
  void add_channels(NextRows<T>& next, const HeadSequence& at, int64_t t, int64_t rows) const {
    for (const T* from : {s.p.g, s.p.a, s.p.b, s.p.erase})
      if (from) next.add(from + s.channel_at(at, t), s.p.value_heads * s.p.K, s.p.K, rows);
  }

  // Gradients of the queries, keys and decays of one head, (15)-(17).
  void through_heads(const HeadSequence& at, int64_t t, bool first, const T* written, double both) {
    const int64_t n = chunk.n, rows = chunk.rows, K = s.key_columns();
    T read[kChunk];
    through_pairs();
    queries_and_keys(chunk, a, read);
    if (p.dg) decay_gradient.store(n, read, written, double(chunk.from_start[n - 1]) * both, p.dg + s.gate_at(at, t), s.p.value_heads);
    transpose_to(K, rows, a.dqt, rows_of_keys);
    for (int64_t i = 0; i < n; ++i) store_key(first, chunk.q_factor[i], chunk.q[i], rows_of_keys[i], p.dq + s.key_at(at, t + i));
    transpose_to(K, rows, a.dkt, rows_of_keys);
    for (int64_t i = 0; i < n; ++i) store_key(first, chunk.k_factor[i], chunk.k[i], rows_of_keys[i], p.dk + s.key_at(at, t + i));
  }

  // Gradients of the queries, keys and decays of one head with a decay per channel, (23)-(25).
  void through_channels(const HeadSequence& at, int64_t t, bool first) {
    const int64_t rows = chunk.rows, K = s.key_columns();
    state_products(chunk, a.state, a.wt, a.dqt), state_products(chunk, a.state, a.zt, a.det);
    transpose_to(K, rows, a.dqt, dq), transpose_to(K, rows, a.det, de), transpose_to(K, rows, a.dkt, dk);
    row_products(a.w, a.xt, a.dreads), row_products(a.z, a.xt, a.dcorrects);
    const ChannelKey<T> key{chunk.key_rows(), dk, a.dreads, a.dcorrects}, known{chunk.k, dknown, known_dreads, known_dcorrects};
    if (s.p.a) {
      transpose_to(K, rows, a.dkt_known, dknown);
      row_products(a.w, known_t, known_dreads), row_products(a.z, known_t, known_dcorrects);
    }
    const bool two = chunk.n > kBlock;
    if (two) between_blocks(key, known);
    for (int64_t b = 0; b < chunk.n; b += kBlock) {
      const ChannelRows<T> rows_of_block = chunk.channel_rows().block(b);
      const ChannelKey<T> key_of_block = key.block(b), known_of_block = known.block(b);
      for (int64_t c = 0; c < K; c += kLanes<T>) {
        ChannelBack<T> gradient(rows_of_block, c);
        gradient.from_start(dq.from(b), de.from(b), load<Lanes<T>>((two ? through[b / kBlock] : a.both) + c));
        gradient.add(key_of_block);
        if (s.p.a) gradient.add(known_of_block);
        gradient.store_to(dq.from(b), de.from(b), dlogs.from(b));
      }
    }
    for (int64_t i = 0; i < chunk.n; ++i) store_channels(at, t, i, first);
  }
  // The blocks interact through the state between them. The reads of the second block use products with this state instead of the state
  // before the chunk; the writes of the first block use products with its gradient instead of that of the state after the chunk.
  void between_blocks(const ChannelKey<T>& key, const ChannelKey<T>& known) {
    using V = Lanes<T>;
    const int64_t K = s.key_columns(), late = chunk.rows - kBlock;
    const Matrix<T> late_dq = dq.from(kBlock), late_de = de.from(kBlock);
    const ChannelRows<T> first = chunk.channel_rows().block(0);
    decay_to_end(first, kBlock, key.k, early_key);
    if (s.p.a) decay_to_end(first, kBlock, known.k, early_known);
    for (int64_t c = 0; c < K; c += kLanes<T>) {
      const V first_total = load<V>(chunk.first_total + c), last_total = load<V>(chunk.last_total + c), both = load<V>(a.both + c);
      V from_first = last_total * both, to_last = first_total * both;
      for (int64_t i = 0; i < late; ++i) {
        const V q = load<V>(late_dq[i] + c), e = load<V>(late_de[i] + c);
        from_first = multiply_add(load<V>(chunk.late_q[i] + c), q, multiply_add(load<V>(chunk.late_e[i] + c), e, from_first));
        store(late_dq[i] + c, V(first_total * q)), store(late_de[i] + c, V(first_total * e));
      }
      const auto take = [&](Matrix<T> early, Matrix<T> d) __attribute__((always_inline)) {
        for (int64_t j = 0; j < kBlock; ++j) {
          const V dk = load<V>(d[j] + c);
          to_last = multiply_add(load<V>(early[j] + c), dk, to_last);
          store(d[j] + c, V(last_total * dk));
        }
      };
      take(early_key, key.d);
      if (s.p.a) take(early_known, known.d);
      store(through[0] + c, from_first), store(through[1] + c, to_last);
    }
    add_between(late, key, early_key);
    if (s.p.a) add_between(late, known, early_known);
  }
  void add_between(int64_t late, const ChannelKey<T>& key, Matrix<T> early) {
    const int64_t K = s.key_columns();
    const auto each = [&](Matrix<T> pairs_between, Matrix<T> by, Matrix<T> to) {
      multiply(late, kBlock, pairs_between[kBlock], pairs_between.stride, early.at, early.stride, K, to[kBlock], to.stride, true);
      multiply<Left::columns>(kBlock, late, pairs_between[kBlock], pairs_between.stride, by.at, by.stride, K, key.d.at, key.d.stride, true);
    };
    each(key.dreads, chunk.late_q, dq), each(key.dmisses, chunk.late_e, de);
  }
  void store_channels(const HeadSequence& at, int64_t t, int64_t i, bool first) {
    const int64_t key = s.key_at(at, t + i), to = s.channel_at(at, t + i), K = s.p.K;
    store_row(K, dlogs[i], T(1), p.dg + to);
    store_key(first, chunk.q_factor[i], chunk.q[i], dq[i], p.dq + key);
    if (s.p.a) {
      store_row(K, de[i], T(1), p.da + to), store_row(K, dk[i], T(1), p.db + to);
      return store_key(first, chunk.k_factor[i], chunk.k[i], dknown[i], p.dk + key);
    }
    if (s.p.erase) {
      load_product(s.key_columns(), de[i], chunk.k[i], rows_of_keys[i]), store_row(K, rows_of_keys[i], T(1), p.derase + to);
      load_product(K, s.p.erase + to, de[i], de[i]);
    }
    add_row(s.key_columns(), de[i], dk[i]);
    store_key(first, chunk.k_factor[i], chunk.k[i], dk[i], p.dk + key);
  }

  // to (rows x rows) = left (rows x V) times transposed (V x rows), on and below the diagonal.
  void row_products(Matrix<T> left, Matrix<T> transposed, Matrix<T> to) const {
    for (int64_t i = 0; i < chunk.rows; i += kTileRows)
      for_columns<T, Rest::skipped>(round_up(i + kTileRows, kLanes<T>), [&](auto columns, int64_t j) {
        using V = typename decltype(columns)::Vector;
        V sum[kTileRows][columns.vectors];
        clear(sum);
        add_products<Left::rows>(s.value_columns(), left[i], left.stride, transposed.at + j, transposed.stride, sum);
        store_rows(sum, to[i] + j, to.stride);
      });
  }

  // Stores the gradients of v and of its gate, if the substitution has not written them.
  void store_values(const HeadSequence& at, int64_t t) {
    if (a.dv.at) return;
    for (int64_t i = 0; i < chunk.n; ++i) {
      const int64_t to = s.value_at(at, t + i);
      if (s.p.write) {
        load_product(s.p.V, s.p.v + to, a.z[i], values[i]), store_row(s.p.V, values[i], T(1), p.dwrite + to);
        load_product(s.p.V, s.p.write + to, a.z[i], a.z[i]);
      }
      store_row(s.p.V, s.p.a ? a.dknown[i] : a.z[i], T(1), p.dv + to);
    }
  }

  const T* ones() const {
    for (int64_t i = 0; i < kChunk; ++i) chunk.factor[i] = 1;
    return chunk.factor;
  }

  // (15) The gradients of the products of queries with keys and of keys with keys, multiplied by the decays.
  void through_pairs() {
    pairs_of(a.w, chunk.reads, T(1), 0, a.dreads);
    transpose_to(chunk.rows, chunk.rows, a.dreads, a.dreads_t);
    if (!s.p.corrects) return;
    pairs_of(a.z, chunk.corrects, T(-1), 1, dcorrects);
    transpose_to(chunk.rows, chunk.rows, dcorrects, a.dcorrects);
    constexpr int W = kLanes<T>;
    using V = Lanes<T>;
    for (int64_t i = 0; i < chunk.rows; ++i)
      for (int64_t j = 0; j <= i; j += W) {
        const V below = load<V>(dcorrects[i] + j);
        store(a.dcorrects[i] + j, j + W > i ? V(below + load<V>(a.dcorrects[i] + j)) : below);
      }
  }
  // dm = rows x^T below the diagonal, starting at diagonal `off`. Adds dm m to decay_gradient, then multiplies dm by sign and the decays.
  void pairs_of(Matrix<T> rows, Matrix<T> m, T sign, int off, Matrix<T> dm) {
    row_products(rows, a.xt, dm);
    using V = Lanes<T>;
    decay_gradient.begin_matrix();
    for (int64_t i = chunk.rows - 1; i >= 0; --i) {
      decay_gradient.add_row(i, dm[i], m[i]);
      for (int64_t j = 0; j < round_up(i + 1, kLanes<T>); j += kLanes<T>)
        store(dm[i] + j, quatrefoil::keep_first(V(sign * load<V>(chunk.decays[i] + j) * load<V>(dm[i] + j)), i + 1 - off - j));
    }
  }

  // The adjoint of (2), x = f v with f = (v.v + eps)^-1/2: f (d - x (x.d)).
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
  ChunkBackward<T> a{};
  Matrix<T> dcorrects, rows_of_keys, values, known_t;
  Matrix<T> dq, de, dk, dknown, dlogs, known_dreads, known_dcorrects;  // only with a decay per channel
  Matrix<T> early_key, early_known;                                    // keys of the first block, decayed to its end
  T *zeros, *pairs, *through[2];                                       // through: <R, S> for each block
  Matrix<T> states, us;
  DecayGradient<kChunk> decay_gradient;
};

template <class T>
void delta_rule_adjoint(const DeltaRuleAdjoint<T>& p) {
  const DeltaRule<T>& f = p.forward;
  const Problem<T> s(f, kChunk);
  if (f.K == 0 || f.V == 0 || f.value_heads == 0) {  // empty sums
    const int64_t tokens = f.B * f.length;
    for (T* x : {p.dq, p.dk}) set_zero(x, tokens * f.heads * f.K);
    for (T* x : {p.dv, p.dwrite}) set_zero(x, tokens * f.value_heads * f.V);
    for (T* x : {p.derase, p.da, p.db}) set_zero(x, tokens * f.value_heads * f.K);
    set_zero(p.dg, tokens * f.value_heads * (f.channels ? f.K : 1)), set_zero(p.dbeta, tokens * f.value_heads);
    return;
  }
  const int64_t tasks = f.sequences * f.heads, length = f.sequences ? f.B * f.length / f.sequences : 0;
  const double ns = double(s.group) * double(s.chunks(length)) * (chunk_ns(s, 2, 1) + chunk_ns(s, 6, 5));
  parallel_for(tasks, f.threads, ns, [&](int64_t begin, int64_t end) {
    const Scratch<T> workspace(HeadAdjoint<T>::size(s));
    HeadAdjoint<T> head(p, s, workspace);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t sequence = task / f.heads, key_head = task % f.heads;
      const Scratch<T> buffer(HeadAdjoint<T>::buffer_size(s, s.head_sequence(sequence, 0).length));
      for (int64_t member = 0; member < s.group; ++member)
        head.run(s.head_sequence(sequence, key_head * s.group + member), buffer, member == 0);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
