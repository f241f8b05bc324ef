// The data of one chunk of one head that need no state: the padded vectors that its tokens read and write with, and the pairs of tokens
// (6), (8).
#pragma once
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"
#include "ssm/delta/args.hpp"
#include "ssm/delta/channels.hpp"
#include "ssm/delta/formula.hpp"
#include "ssm/delta/head_decays.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// The position of a sequence of one head in the arrays.
struct HeadSequence {
  int64_t sequence, head, first, length;  // first: its first token, counted over all items
};

template <class T>
struct Problem {
  Problem(const DeltaRule<T>& args, int64_t tokens) : p(args), group(args.heads ? args.value_heads / args.heads : 0), chunk(tokens) {}

  HeadSequence head_sequence(int64_t sequence, int64_t head) const {
    if (!p.begins) return {sequence, head, sequence * p.length, p.length};
    return {sequence, head, p.begins[sequence], p.begins[sequence + 1] - p.begins[sequence]};
  }
  int64_t key_at(const HeadSequence& at, int64_t t) const { return ((at.first + t) * p.heads + at.head / group) * p.K; }
  int64_t gate_at(const HeadSequence& at, int64_t t) const { return (at.first + t) * p.value_heads + at.head; }
  int64_t channel_at(const HeadSequence& at, int64_t t) const { return gate_at(at, t) * p.K; }
  int64_t value_at(const HeadSequence& at, int64_t t) const { return gate_at(at, t) * p.V; }
  int64_t state_at(const HeadSequence& at) const { return (at.sequence * p.value_heads + at.head) * p.K * p.V; }

  int64_t chunks(int64_t length) const { return (length + chunk - 1) / chunk; }
  int64_t key_columns() const { return padded<T>(p.K); }
  int64_t value_columns() const { return padded<T>(p.V); }

  // Matrices with their own memory: rows of keys, of values, of pairs of tokens.
  int64_t key_size(int64_t rows) const { return rows * spaced<T>(p.K); }
  int64_t value_size(int64_t rows) const { return rows * spaced<T>(p.V); }
  static int64_t pair_size(int64_t rows) { return rows * spaced<T>(kChunk); }
  Matrix<T> keys(T*& workspace, int64_t rows) const { return take(workspace, rows, spaced<T>(p.K)); }
  Matrix<T> values(T*& workspace, int64_t rows) const { return take(workspace, rows, spaced<T>(p.V)); }
  static Matrix<T> pairs(T*& workspace, int64_t rows) { return take(workspace, rows, spaced<T>(kChunk)); }

  const DeltaRule<T>& p;
  const int64_t group;  // value heads that share a query and key
  const int64_t chunk;  // tokens

 private:
  static Matrix<T> take(T*& workspace, int64_t rows, int64_t stride) {
    const Matrix<T> m{workspace, stride};
    workspace += rows * stride;
    return m;
  }
};

// Copies n elements times s to a row padded with zeros, and back.
template <class T>
void load_row(int64_t n, const T* from, T s, T* to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < n; i += kLanes<T>) store(to + i, V(broadcast<V>(s) * load_first<V>(from + i, n - i)));
}
template <class T>
void store_row(int64_t n, const T* from, T s, T* to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < n; i += kLanes<T>) store_first(to + i, V(broadcast<V>(s) * load<V>(from + i)), n - i);
}
// The elementwise product of a row and a padded row.
template <class T>
void load_product(int64_t n, const T* from, const T* padded, T* to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < n; i += kLanes<T>) store(to + i, V(load_first<V>(from + i, n - i) * load<V>(padded + i)));
}
template <class T>
void add_row(int64_t padded, const T* x, T* to) {
  for (int64_t i = 0; i < padded; ++i) to[i] += x[i];
}
template <class T>
T dot(int64_t padded, const T* a, const T* b) {
  using V = Lanes<T>;
  V s{};
  for (int64_t i = 0; i < padded; i += kLanes<T>) s = multiply_add(load<V>(a + i), load<V>(b + i), s);
  return sum(s);
}

// (2): a query or key in the form that the recurrence uses. Returns the factor by which it was multiplied.
template <class T>
T load_key(const Problem<T>& s, const T* from, T* to) {
  load_row(s.p.K, from, T(1), to);
  if (!s.p.normalizes) return T(1);
  const T factor = inverse_norm(dot(s.key_columns(), to, to));
  load_row(s.p.K, from, factor, to);
  return factor;
}

// Copies the state of a head, K rows of V elements, between the caller's array and padded memory.
template <class T>
void load_state(const Problem<T>& s, const HeadSequence& at, const T* from, Matrix<T> to) {
  const int64_t K = s.p.K, V = s.p.V;
  for (int64_t i = 0; i < s.key_columns(); ++i)
    if (from && i < K)
      load_row(V, from + s.state_at(at) + i * V, T(1), to[i]);
    else
      set_zero(to[i], s.value_columns());
}
template <class T>
void store_state(const Problem<T>& s, const HeadSequence& at, Matrix<T> from, T* to) {
  for (int64_t i = 0; i < s.p.K; ++i) store_row(s.p.V, from[i], T(1), to + s.state_at(at) + i * s.p.V);
}

template <class T>
class Chunk {
 public:
  static int64_t size(const Problem<T>& s) {
    const int64_t channels = s.p.channels ? 7 * s.key_size(kChunk) + 2 * s.key_size(kBlock) + 2 * s.key_columns() : 0;
    return 3 * s.key_size(kChunk) + s.pair_size(s.key_columns()) + 5 * s.pair_size(kChunk) + 9 * kChunk + s.key_columns() + channels;
  }
  Chunk(const Problem<T>& problem, T* workspace) : s(problem) {
    for (Matrix<T>* m : {&q, &k, &scaled}) *m = s.keys(workspace, kChunk);
    transposed = s.pairs(workspace, s.key_columns());
    for (Matrix<T>* m : {&decays, &reads, &corrects, &known_reads, &known_corrects}) *m = s.pairs(workspace, kChunk);
    for (T** vector : {&from_start, &to_end, &minus_from_start, &beta, &factor, &q_factor, &k_factor, &one, &minus_one})
      *vector = workspace, workspace += kChunk;
    total = workspace, workspace += s.key_columns();
    reading = q, erasing = k, writing = k;
    read_weight = from_start, erase_weight = minus_from_start, write_weight = to_end;
    if (!s.p.channels) return;
    for (Matrix<T>* m : {&reading, &erasing, &writing, &known_written, &channel_decay, &own_erase, &own_key})
      *m = s.keys(workspace, kChunk);
    late_q = s.keys(workspace, kBlock), late_e = s.keys(workspace, kBlock);
    first_total = workspace, last_total = workspace + s.key_columns();
    read_weight = write_weight = one, erase_weight = s.p.a ? one : minus_one;
  }

  // With a decay per channel: stores the pairs of tokens in the caller's memory.
  static int64_t pairs_size(const Problem<T>& s) { return (s.p.a ? 4 : 2) * s.pair_size(kChunk); }
  void put_pairs(T* workspace) {
    for (Matrix<T>* m : {&reads, &corrects}) *m = s.pairs(workspace, kChunk);
    if (!s.p.a) return;
    for (Matrix<T>* m : {&known_reads, &known_corrects}) *m = s.pairs(workspace, kChunk);
  }

  // Loads tokens [t, t + count) of a sequence; `with_q`: the outputs are requested; `with_pairs`: the pairs of (22) are not stored yet.
  void load(const HeadSequence& at, int64_t t, int64_t count, bool with_q, bool with_pairs = true) {
    n = count, rows = round_up(count, kRowUnit<T>);
    const DeltaRule<T>& p = s.p;
    for (int64_t i = 0; i < rows; ++i) {
      const bool real = i < n;
      beta[i] = !real ? T(0) : p.beta ? p.beta[s.gate_at(at, t + i)] : T(1);
      if (real)
        k_factor[i] = load_key(s, p.k + s.key_at(at, t + i), k[i]);
      else
        set_zero(k[i], s.key_columns());
      if (real && with_q)
        q_factor[i] = load_key(s, p.q + s.key_at(at, t + i), q[i]);
      else
        set_zero(q[i], s.key_columns());
    }
    if (p.channels) return load_channels(at, t, with_pairs);
    transpose_to(rows, s.key_columns(), k, transposed);
    load_decays(p.g ? p.g + s.gate_at(at, t) : nullptr);
    if (p.corrects) weigh(k, corrects, T(-1), 1);
    if (with_q) weigh(q, reads, T(1), 0);
  }

  // d_j k_j, for (9).
  Matrix<T> written() {
    if (s.p.channels) return writing;
    scale_rows(rows, s.key_columns(), to_end, k, scaled);
    return scaled;
  }

  // With one decay per channel: the vectors with which the tokens of this chunk read, and the key at which they write x.
  ChannelRows<T> channel_rows() const { return {n, s.key_columns(), channel_decay, q, erase_rows(), s.p.a != nullptr, erase_weight[0]}; }
  Matrix<T> erase_rows() const { return s.p.a || s.p.erase ? own_erase : k; }
  Matrix<T> key_rows() const { return s.p.b ? own_key : k; }

  const Problem<T>& s;
  int64_t n = 0, rows = 0;  // tokens, and rows of all matrices; additional rows are 0
  Matrix<T> q, k, scaled;
  Matrix<T> transposed;                   // k^T
  Matrix<T> decays;                       // (4) from token j to token i, in row i
  Matrix<T> reads;                        // (8) decays_ij q_i.k_j, lower triangular
  Matrix<T> corrects;                     // (6) -decays_ij k_i.k_j, strictly lower triangular
  Matrix<T> known_reads, known_corrects;  // (25) the same with the known keys
  Matrix<T> reading, erasing, writing;    // operands of products with states; then the factors of their rows
  const T *read_weight, *erase_weight, *write_weight;
  Matrix<T> known_written, channel_decay;
  Matrix<T> late_q, late_e;                   // q and e of the second block, if there is one, times the decays since its start
  T *first_total, *last_total;                // the decays of the two blocks
  T *from_start, *to_end, *minus_from_start;  // (4) the decays from before the chunk, and to its last token
  T* total;                                   // the decays of the chunk, for each row of the state
  T *beta, *factor;
  T *q_factor, *k_factor;  // factors by which queries and keys were multiplied

 private:
  // (22)
  void load_channels(const HeadSequence& at, int64_t t, bool with_pairs) {
    const DeltaRule<T>& p = s.p;
    for (int64_t i = 0; i < kChunk; ++i) one[i] = T(1), minus_one[i] = T(-1);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t from = s.channel_at(at, t + i);
      load_decay(p.K, p.g + from, channel_decay[i]);
      if (p.a) load_row(p.K, p.a + from, T(1), own_erase[i]);
      if (p.b) load_row(p.K, p.b + from, T(1), own_key[i]);
      if (p.erase) load_product(p.K, p.erase + from, k[i], own_erase[i]);
    }
    for (int64_t i = n; i < rows; ++i)
      for (const Matrix<T>& m : {reading, erasing}) set_zero(m[i], s.key_columns());
    const ChannelRows<T> all = channel_rows();
    decay_from_start(all, T(1), reading, erasing, total);
    if (n > kBlock) {
      decay_from_start(all.block(0), T(1), late_q, late_e, first_total);
      decay_from_start(all.block(kBlock), all.sign, late_q, late_e, last_total);
      for (int64_t i = n; i < rows; ++i)
        for (const Matrix<T>& m : {late_q, late_e}) set_zero(m[i - kBlock], s.key_columns());
    }
    if (!with_pairs) {
      decay_to_end(all, rows, key_rows(), writing);
      if (p.a) decay_to_end(all, rows, k, known_written);
      return;
    }
    add_blocks(all, key_rows(), reads, corrects, writing);
    if (p.a) add_blocks(all, k, known_reads, known_corrects, known_written);
  }
  // Computes pairs within a block one by one, and pairs between the blocks as products of vectors that decay from the start of the second
  // block on, and up to it.
  void add_blocks(const ChannelRows<T>& all, Matrix<T> key, Matrix<T> read, Matrix<T> missed, Matrix<T> written) {
    for (int64_t i = 0; i < rows; i += kBlock)
      pairs_of(all.block(i), min(kBlock, rows - i), key.from(i), read.from(i, i), missed.from(i, i), written.from(i));
    if (n <= kBlock) return;
    const int64_t K = s.key_columns(), late = rows - kBlock;
    transpose_to(kBlock, K, written, transposed);
    multiply(late, K, late_q.at, late_q.stride, transposed.at, transposed.stride, kBlock, read[kBlock], read.stride);
    multiply(late, K, late_e.at, late_e.stride, transposed.at, transposed.stride, kBlock, missed[kBlock], missed.stride);
    for (int64_t i = 0; i < kBlock; ++i) load_product(K, written[i], last_total, written[i]);
  }

  void load_decays(const T* g) {
    double logs[kChunk];
    for (int64_t i = 0; i < rows; ++i) logs[i] = g && i < n ? double(g[i * s.p.value_heads]) : 0;
    head_decays<kChunk>(n, rows, logs, decays.at, decays.stride, from_start, to_end);
    for (int64_t i = 0; i < rows; ++i) minus_from_start[i] = -from_start[i];
    for (int64_t c = 0; c < s.key_columns(); ++c) total[c] = from_start[n - 1];
  }

  // to = sign decays * (a k^T) below the diagonal, starting at diagonal `off`; 0 above it, up to the end of the vector.
  void weigh(Matrix<T> a, Matrix<T> to, T sign, int off) const {
    for (int64_t i = 0; i < rows; i += kTileRows)
      for_columns<T, Rest::skipped>(round_up(i + kTileRows, kLanes<T>), [&](auto columns, int64_t j) {
        using V = typename decltype(columns)::Vector;
        V sum[kTileRows][columns.vectors];
        clear(sum);
        add_products<Left::rows>(s.key_columns(), a[i], a.stride, transposed.at + j, transposed.stride, sum);
#pragma GCC unroll 8
        for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 3
          for (int v = 0; v < columns.vectors; ++v) {
            const int64_t first = j + v * kWidth<V>;
            const V weighted = sign * quatrefoil::load<V>(decays[i + r] + first) * sum[r][v];
            store(to[i + r] + first, keep_first(weighted, i + r + 1 - off - first));
          }
      });
  }

  Matrix<T> own_erase, own_key;  // own_erase: GDN-2's b k, or a of rank two; own_key: b of rank two
  T *one, *minus_one;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
