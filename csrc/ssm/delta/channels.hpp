// One decay per channel: pairs of tokens of a chunk (22), and their adjoint (23), (24). There is no exponential of a sum: the decays
// between two tokens are multiplied while a key passes from one to the other, one vector of channels at a time.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/run/memory.hpp"
#include "ssm/delta/matrix.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// The vectors that the tokens of a chunk read and write with: rows of `columns` elements, padded with zeros.
template <class T>
struct ChannelRows {
  int64_t count, columns;
  Matrix<T> decay;  // e^g
  Matrix<T> q, e;   // read the state for the output, and for the correction
  bool before;      // e reads the state before its token's decay
  T sign;           // sign of the correction read by e

  // The tokens of the block that begins at `first`.
  ChannelRows block(int64_t first) const {
    return {min(kBlock, count - first), columns, decay.from(first), q.from(first), e.from(first), before, sign};
  }
};

// Writes e^g of n channels to a padded row.
template <class T>
void load_decay(int64_t n, const T* g, T* to) {
  using V = Lanes<T>;
  for (int64_t c = 0; c < n; c += kLanes<T>) store(to + c, elementary::exp(load_first<V>(g + c, n - c)));
}

// Writes to `read` the rows q times the decays from before these tokens, to `missed` the rows e times these decays and `scale`, and to
// `total` the product of all decays.
template <class T>
void decay_from_start(const ChannelRows<T>& a, T scale, Matrix<T> read, Matrix<T> missed, T* total) {
  using V = Lanes<T>;
  for (int64_t c = 0; c < a.columns; c += kLanes<T>) {
    V from_start = broadcast<V>(T(1));
    for (int64_t i = 0; i < a.count; ++i) {
      const V before = from_start;
      from_start *= load<V>(a.decay[i] + c);
      store(read[i] + c, V(from_start * load<V>(a.q[i] + c)));
      store(missed[i] + c, V(scale * (a.before ? before : from_start) * load<V>(a.e[i] + c)));
    }
    store(total + c, from_start);
  }
}

// Writes the keys times the decays to the last of these tokens to `written`, which has `rows` rows.
template <class T>
void decay_to_end(const ChannelRows<T>& a, int64_t rows, Matrix<T> k, Matrix<T> written) {
  using V = Lanes<T>;
  for (int64_t c = 0; c < a.columns; c += kLanes<T>) {
    V to_end = broadcast<V>(T(1));
    for (int64_t i = a.count - 1; i >= 0; --i) {
      store(written[i] + c, V(to_end * load<V>(k[i] + c)));
      to_end *= load<V>(a.decay[i] + c);
    }
  }
  for (int64_t i = a.count; i < rows; ++i) set_zero(written[i], a.columns);
}

// to[j] += scale times the sum of the lanes of x[j], for `count` vectors.
template <class T>
void add_sums(int64_t count, const Lanes<T>* x, T scale, T* to) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int64_t j = 0; j < count; j += W) {
    V square[W];
#pragma GCC unroll 16
    for (int k = 0; k < W; ++k) square[k] = j + k < count ? x[j + k] : V{};
    transpose(square);
#pragma GCC unroll 4
    for (int half = W / 2; half; half /= 2)
      for (int k = 0; k < half; ++k) square[k] += square[k + half];
    store(to + j, multiply_add(broadcast<V>(scale), square[0], load<V>(to + j)));
  }
}

// Computes pairs of tokens with the keys k, for N vectors of channels starting at c: reads_ij += q_i.(k_j decayed), misses_ij += sign
// e_i.(k_j decayed). `written` contains the decaying keys, up to the end of the chunk. Takes one load, one store and three operations per
// pair and vector.
template <bool before, int N, class T>
void add_pairs_of(const ChannelRows<T>& a, Matrix<T> k, int64_t c, Matrix<T> reads, Matrix<T> misses, Matrix<T> written) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  V read[kBlock], missed[kBlock];
  for (int64_t i = 0; i < a.count; ++i) {
    V decay[N], q[N], e[N], own{};
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      const int64_t at = c + v * W;
      decay[v] = load<V>(a.decay[i] + at), q[v] = load<V>(a.q[i] + at), e[v] = load<V>(a.e[i] + at);
    }
    for (int64_t j = 0; j < i; ++j) {
      V r{}, m{};
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        T* const at = written[j] + c + v * W;
        V key = load<V>(at);
        if (before) m = multiply_add(e[v], key, m);
        key *= decay[v];
        store(at, key);
        if (!before) m = multiply_add(e[v], key, m);
        r = multiply_add(q[v], key, r);
      }
      read[j] = r, missed[j] = m;
    }
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      const V key = load<V>(k[i] + c + v * W);
      store(written[i] + c + v * W, key);
      own = multiply_add(q[v], key, own);
    }
    read[i] = own;
    add_sums(i + 1, read, T(1), reads[i]);
    add_sums(i, missed, a.sign, misses[i]);
  }
}

// The same for all channels; `rows` rows of the pairs are cleared first.
template <class T>
void pairs_of(const ChannelRows<T>& a, int64_t rows, Matrix<T> k, Matrix<T> reads, Matrix<T> misses, Matrix<T> written) {
  for (int64_t i = 0; i < rows; ++i) {
    set_zero(reads[i], rows), set_zero(misses[i], rows);
  }
  for (int64_t i = a.count; i < rows; ++i) set_zero(written[i], a.columns);
  for_panels(a.columns / kLanes<T>, [&](auto vectors, int64_t first) {
    constexpr int N = vectors.value;
    const int64_t c = first * kLanes<T>;
    a.before ? add_pairs_of<true, N>(a, k, c, reads, misses, written) : add_pairs_of<false, N>(a, k, c, reads, misses, written);
  });
}

// A key at which tokens write, and the gradients of its pairs. On entry `d` is the gradient of the key at the end of the chunk.
template <class T>
struct ChannelKey {
  Matrix<T> k, d;
  Matrix<T> dreads, dmisses;  // gradients of the pairs; dmisses without the sign

  ChannelKey block(int64_t first) const { return {k.from(first), d.from(first), dreads.from(first, first), dmisses.from(first, first)}; }
};

// The adjoint of one vector of channels in a block. The gradient of a decay sums only terms that contain it; nothing is subtracted.
template <class T>
class ChannelBack {
  using V = Lanes<T>;

 public:
  ChannelBack(const ChannelRows<T>& rows, int64_t first) : a(rows), c(first) {
    for (int64_t i = 0; i < a.count; ++i) decay[i] = load<V>(a.decay[i] + c);
  }

  // (24): on entry dq and de are products with the state before the block; `through` is the term that passes from it to the state after the
  // block.
  void from_start(Matrix<T> dq, Matrix<T> de, V through) {
    V from_start[kBlock + 1];
    from_start[0] = broadcast<V>(T(1));
    for (int64_t i = 0; i < a.count; ++i) from_start[i + 1] = from_start[i] * decay[i];
    V later = through * from_start[a.count];
    for (int64_t i = a.count - 1; i >= 0; --i) {
      dq_[i] = from_start[i + 1] * load<V>(dq[i] + c);
      de_[i] = a.sign * from_start[a.before ? i : i + 1] * load<V>(de[i] + c);
      const V missed = load<V>(a.e[i] + c) * de_[i];
      later = multiply_add(load<V>(a.q[i] + c), dq_[i], later);
      if (!a.before) later += missed;
      logs[i] = later;
      if (a.before) later += missed;
    }
  }

  // (23), (24) for one key.
  void add(const ChannelKey<T>& at) {
    V to_end = broadcast<V>(T(1)), earlier{}, dk[kBlock];
    for (int64_t j = a.count - 1; j >= 0; --j) {
      dk[j] = to_end * load<V>(at.d[j] + c);
      to_end *= decay[j];
    }
    for (int64_t j = 0; j < a.count; ++j) {
      logs[j] += earlier;
      earlier = multiply_add(load<V>(at.k[j] + c), dk[j], earlier);
    }
    a.before ? add_pairs<true>(at, dk) : add_pairs<false>(at, dk);
    for (int64_t j = 0; j < a.count; ++j) store(at.d[j] + c, dk[j]);
  }

  void store_to(Matrix<T> dq, Matrix<T> de, Matrix<T> dlogs) const {
    for (int64_t i = 0; i < a.count; ++i) store(dq[i] + c, dq_[i]), store(de[i] + c, de_[i]), store(dlogs[i] + c, logs[i]);
  }

 private:
  // `walked` contains the decays since token j. The terms that contain the decay of token t <= i are the pairs of i with all tokens before
  // t.
  template <bool before>
  void add_pairs(const ChannelKey<T>& at, V* dk) {
    V walked[kBlock];
    for (int64_t i = 0; i < a.count; ++i) {
      const V q = load<V>(a.q[i] + c), e = a.sign * load<V>(a.e[i] + c);
      V read{}, missed{}, passed{}, passed_before{};
      for (int64_t j = 0; j < i; ++j) {
        const V earlier = walked[j], now = earlier * decay[i], key = load<V>(at.k[j] + c), read_key = now * key;
        const V by_read = broadcast<V>(at.dreads[i][j]), by_miss = broadcast<V>(at.dmisses[i][j]);
        walked[j] = now;
        read = multiply_add(by_read, read_key, read);
        if (before) {
          const V of_read = by_read * q, of_miss = by_miss * e, missed_key = earlier * key;
          missed = multiply_add(by_miss, missed_key, missed);
          dk[j] = multiply_add(now, of_read, multiply_add(earlier, of_miss, dk[j]));
          passed = multiply_add(read_key, of_read, passed), passed_before = multiply_add(missed_key, of_miss, passed_before);
          logs[j + 1] += j + 1 < i ? V(passed + passed_before) : passed;
        } else {
          const V of_both = multiply_add(by_read, q, V(by_miss * e));
          missed = multiply_add(by_miss, read_key, missed);
          dk[j] = multiply_add(now, of_both, dk[j]);
          passed = multiply_add(read_key, of_both, passed);
          logs[j + 1] += passed;
        }
      }
      const V own = broadcast<V>(at.dreads[i][i]);
      dq_[i] += multiply_add(own, load<V>(at.k[i] + c), read), de_[i] = multiply_add(broadcast<V>(a.sign), missed, de_[i]);
      dk[i] = multiply_add(own, q, dk[i]);
      walked[i] = broadcast<V>(T(1));
    }
  }

  const ChannelRows<T> a;
  const int64_t c;
  V decay[kBlock], dq_[kBlock], de_[kBlock], logs[kBlock];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
