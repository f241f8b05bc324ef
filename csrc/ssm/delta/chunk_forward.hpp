// The forward pass of one chunk, (5)-(9). It processes a few columns of the state at a time, which stay in L1 from the first product to the
// last. Terms are added to a product while its sums are in registers.
#pragma once
#include "ssm/delta/chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Prefetches rows of the next chunk, a few at a time between tiles. The rows are far apart, often each in its own page.
template <class T>
class NextRows {
 public:
  explicit NextRows(const Problem<T>& s)
      : tiles_(max<int64_t>(1, s.key_columns() / kTileRows * (s.value_columns() / (kTileVectors * kLanes<T>)))) {}
  // Adds `rows` rows of n elements; `written` says whether they will be written. Rows of several arrays are prefetched in turn.
  void add(const T* from, int64_t stride, int64_t n, int64_t rows, bool written = false) {
    if (rows <= 0) return;
    arrays_[count_++] = {from, stride, n, rows, written};
    rows_ = max(rows_, rows), step_ = (count_ * rows_ + tiles_ - 1) / tiles_;
  }
  void step() {
    for (int64_t i = 0; i < step_ && row_ < rows_; ++i) {
      const Array& a = arrays_[array_];
      const T* const row = a.from + min(row_, a.rows - 1) * a.stride;
      a.written ? fetch<true>(row, a.n) : fetch(row, a.n);
      if (++array_ == count_) array_ = 0, ++row_;
    }
  }

 private:
  struct Array {
    const T* from;
    int64_t stride, n, rows;
    bool written;
  };
  Array arrays_[12] = {};
  int64_t tiles_, rows_ = 0, step_ = 0, row_ = 0;
  int count_ = 0, array_ = 0;
};

// Inputs and outputs of a chunk. The first five have `rows` rows. Null if not requested.
template <class T>
struct ChunkForward {
  Matrix<const T> v;        // for rank two, a row of zeros with stride 0
  Matrix<const T> known;    // (25) values written at the chunk's known keys, or null
  Matrix<T> u, x;           // (5), (7): before and after beta
  Matrix<T> o;              // (8)
  Matrix<T> before, after;  // the state, (9); may be the same
  Matrix<T> written;        // d_j k_j, for (9)
};

// sum += rows i, ... of m times the values `rows`. m is lower triangular, starting at diagonal `off`; entries above it are not read.
template <int off, int NV, class V, class T>
QF_HD void add_known(Matrix<T> m, Matrix<const T> rows, int64_t i, int64_t j, V (&sum)[kTileRows][NV]) {
  add_products<Left::rows>(i, m[i], m.stride, rows.at + j, rows.stride, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) {
      const V x = load<V>(rows[i + r] + j + v * kWidth<V>);
#pragma GCC unroll 8
      for (int q = r + off; q < kTileRows; ++q) sum[q][v] = multiply_add(broadcast<V>(m[i + q][i + r]), x, sum[q][v]);
    }
}

// (5)-(7) for the columns of a tile, starting at column j. (5) is solved with all sums of eight rows in registers.
template <int NV, class V, class T>
void write_columns(const Chunk<T>& chunk, const ChunkForward<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  for (int64_t i = 0; i < chunk.rows; i += R) {
    for (int r = 0; r < R; ++r) fetch(a.v[i + r] + j, NV * W);
    for (int r = 0; a.u.at && r < R; ++r) fetch<true>(a.u[i + r] + j, NV * W);
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), chunk.erasing[i], chunk.erasing.stride, a.before.at + j, a.before.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v)
        sum[r][v] = multiply_add(broadcast<V>(chunk.erase_weight[i + r]), sum[r][v], load<V>(a.v[i + r] + j + v * W));
    if (a.known.at) add_known<1>(chunk.known_corrects, a.known, i, j, sum);
    const Matrix<T> m{chunk.corrects[i], chunk.corrects.stride};
    add_products<Left::rows>(i, m.at, m.stride, a.x.at + j, a.x.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        if (a.u.at) store(a.u[i + r] + j + v * W, sum[r][v]);
        const V x = broadcast<V>(chunk.beta[i + r]) * sum[r][v];
        store(a.x[i + r] + j + v * W, x);
#pragma GCC unroll 8
        for (int q = r + 1; q < R; ++q) sum[q][v] = multiply_add(broadcast<V>(m[q][i + r]), x, sum[q][v]);
      }
  }
}

// (3): the written values are v.
template <int NV, class V, class T>
void copy_columns(const Chunk<T>& chunk, const ChunkForward<T>& a, int64_t j) {
  for (int64_t i = 0; i < chunk.rows; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store(a.x[i] + j + v * kWidth<V>, load<V>(a.v[i] + j + v * kWidth<V>));
}

// (8)
template <int NV, class V, class T>
void read_columns(const Chunk<T>& chunk, const ChunkForward<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  for (int64_t i = 0; i < chunk.rows; i += R) {
    for (int r = 0; r < R; ++r) fetch<true>(a.o[i + r] + j, NV * W);
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), chunk.reading[i], chunk.reading.stride, a.before.at + j, a.before.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) sum[r][v] *= broadcast<V>(chunk.read_weight[i + r]);
    if (a.known.at) add_known<0>(chunk.known_reads, a.known, i, j, sum);
    const Matrix<T> m{chunk.reads[i], chunk.reads.stride};
    add_products<Left::rows>(i, m.at, m.stride, a.x.at + j, a.x.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        const V x = load<V>(a.x[i + r] + j + v * W);
#pragma GCC unroll 8
        for (int q = r; q < R; ++q) sum[q][v] = multiply_add(broadcast<V>(m[q][i + r]), x, sum[q][v]);
        store(a.o[i + r] + j + v * W, V(T(chunk.s.p.scale) * sum[r][v]));
      }
  }
}

// (9)
template <int NV, class V, class T>
void advance_columns(const Chunk<T>& chunk, const ChunkForward<T>& a, int64_t j, NextRows<T>& next) {
  constexpr int W = kWidth<V>;
  for_panels<kLanes<T>>(chunk.s.key_columns(), [&](auto rows, int64_t i) __attribute__((always_inline)) {
    next.step();
    for (int r = 0; a.after.at != a.before.at && r < rows.value; ++r) fetch<true>(a.after[i + r] + j, NV * W);
    V sum[rows.value][NV];
    clear(sum);
    add_products<Left::columns>(chunk.rows, a.written.at + i, a.written.stride, a.x.at + j, a.x.stride, sum);
    if (a.known.at) {
      const Matrix<T> keys = chunk.known_written;
      add_products<Left::columns>(chunk.rows, keys.at + i, keys.stride, a.known.at + j, a.known.stride, sum);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows.value; ++r) {
      const V total = broadcast<V>(chunk.total[i + r]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) store(a.after[i + r] + j + v * W, multiply_add(total, load<V>(a.before[i + r] + j + v * W), sum[r][v]));
    }
  });
}

template <class T>
void pass(const Chunk<T>& chunk, const ChunkForward<T>& a, NextRows<T> next) {
  for_columns<T, Rest::skipped>(chunk.s.value_columns(), [&](auto columns, int64_t j) {
    using C = decltype(columns);
    using V = typename C::Vector;
    if (chunk.s.p.corrects)
      write_columns<C::vectors, V>(chunk, a, j);
    else
      copy_columns<C::vectors, V>(chunk, a, j);
    if (a.o.at) read_columns<C::vectors, V>(chunk, a, j);
    if (a.after.at) advance_columns<C::vectors, V>(chunk, a, j, next);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
