// One chunk going forward, (5)-(9): some columns of the state at a time, which stay in L1 from the first product to the last. What has
// to be added to a product is added where its sums are: in registers.
#pragma once
#include "ssm/delta/chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Queries and keys of the chunk to come, asked for a few rows at a time between tiles: they lie far apart, each in a page of its own.
template <class T>
class NextRows {
 public:
  NextRows() = default;
  NextRows(const Problem<T>& s, const Place& at, int64_t t, int64_t count)
      : q_(s.p.q + s.key_at(at, t)), k_(s.p.k + s.key_at(at, t)), stride_(s.p.heads * s.p.K), n_(s.p.K), rows_(count) {
    const int64_t tiles = (s.key_columns() / kTileRows) * (s.value_columns() / (kTileVectors * kLanes<T>));
    step_ = tiles > 0 ? (2 * count + tiles - 1) / tiles : 2 * count;
  }
  void step() {
    for (const int64_t stop = min(row_ + step_, 2 * rows_); row_ < stop; ++row_) fetch((row_ < rows_ ? k_ : q_ - rows_ * stride_) + row_ * stride_, n_);
  }

 private:
  const T *q_ = nullptr, *k_ = nullptr;
  int64_t stride_ = 0, n_ = 0, rows_ = 0, step_ = 0, row_ = 0;
};

// What goes into a chunk and comes out of it: `rows` rows of the first four. Null: not asked for.
template <class T>
struct Passage {
  const T* v;
  int64_t v_stride;
  Matrix<T> u, x;      // (5), (7): before and behind beta
  Matrix<T> o;         // (8)
  Matrix<T> before;    // the state
  Matrix<T> after;     // (9); may be `before`
  Matrix<T> k_behind;  // d_j k_j, for (9)
};

// (5)-(7) for the columns of a tile from j on: (5) is solved with all sums of eight rows in registers.
template <int NV, class V, class T>
void write_columns(const Chunk<T>& chunk, const Passage<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  for (int64_t i = 0; i < chunk.rows; i += R) {
    for (int r = 0; r < R; ++r) fetch(a.v + (i + r) * a.v_stride + j, NV * W);
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), chunk.k[i], chunk.k.stride, a.before.at + j, a.before.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v)
        sum[r][v] = multiply_add(broadcast<V>(-chunk.since[i + r]), sum[r][v], load<V>(a.v + (i + r) * a.v_stride + j + v * W));
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

// (3): what is written is v.
template <int NV, class V, class T>
void copy_columns(const Chunk<T>& chunk, const Passage<T>& a, int64_t j) {
  for (int64_t i = 0; i < chunk.rows; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store(a.x[i] + j + v * kWidth<V>, load<V>(a.v + i * a.v_stride + j + v * kWidth<V>));
}

// (8)
template <int NV, class V, class T>
void read_columns(const Chunk<T>& chunk, const Passage<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  for (int64_t i = 0; i < chunk.rows; i += R) {
    for (int r = 0; r < R; ++r) fetch<true>(a.o[i + r] + j, NV * W);
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), chunk.q[i], chunk.q.stride, a.before.at + j, a.before.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) sum[r][v] *= broadcast<V>(chunk.since[i + r]);
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
void advance_columns(const Chunk<T>& chunk, const Passage<T>& a, int64_t j, NextRows<T>& next) {
  constexpr int W = kWidth<V>;
  const V total = broadcast<V>(chunk.since[chunk.n - 1]);
  for_panels(chunk.s.key_columns(), [&](auto rows, int64_t i) __attribute__((always_inline)) {
    next.step();
    V sum[rows.value][NV];
    clear(sum);
    add_products<Left::columns>(chunk.rows, a.k_behind.at + i, a.k_behind.stride, a.x.at + j, a.x.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < rows.value; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v)
        store(a.after[i + r] + j + v * W, multiply_add(total, load<V>(a.before[i + r] + j + v * W), sum[r][v]));
  });
}

template <class T>
void pass(const Chunk<T>& chunk, const Passage<T>& a, NextRows<T> next) {
  for_columns<T, Rest::apart>(chunk.s.value_columns(), [&](auto columns, int64_t j) {
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
