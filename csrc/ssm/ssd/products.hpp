// Products of the small matrices of a chunk, whole ones and triangles, and where such matrices lie.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/transpose.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

// A matrix row by row, `stride` numbers apart; or (stride 0) in columns of tiles, one behind the other, where the numbers of a row of a
// tile lie side by side: rows a power of two apart would share a few sets of L1.
template <class T>
struct Matrix {
  T* at;
  int64_t rows, stride;
  template <class C>
  T* column(C, int64_t j) const {
    return stride ? at + j : at + j * rows;
  }
  template <class C>
  int64_t step(C) const {
    return stride ? stride : C::count;
  }
};
template <class T>
Matrix<T> in_tiles(T* at, int64_t rows) {
  return {at, rows, 0};
}
template <class T>
Matrix<T> in_rows(T* at, int64_t rows, int64_t stride) {
  return {at, rows, max<int64_t>(stride, 1)};
}

// c (m x cols) = a (m x b.rows) b, or added to c. a lies row by row, or column by column: then it is the transpose of what lies there.
template <Left left, class T, class B>
void multiply(int64_t m, const T* a, int64_t a_stride, Matrix<B> b, int64_t cols, Matrix<T> c, bool add) {
  for_columns<T, Rest::apart>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    tile_column<left, C::vectors, typename C::Vector>(m, b.rows, a, a_stride, b.column(columns, j), b.step(columns), c.column(columns, j),
                                                      c.step(columns), add);
  });
}

// Row i of c += its part of the triangle on the diagonal: sums over `count` columns of m from `first`, beside rows of b from there.
template <Left left, int NV, class V>
QF_HD void add_few(int64_t i, int64_t first, int64_t count, const Element<V>* m, int64_t m_stride, const Element<V>* b, int64_t b_step,
                   Element<V>* c) {
  constexpr int W = kWidth<V>;
  V sum[NV];
#pragma GCC unroll 3
  for (int v = 0; v < NV; ++v) sum[v] = load<V>(c + v * W);
  for (int64_t k = first; k < first + count; ++k) {
    const Element<V> s = left == Left::rows ? m[i * m_stride + k] : m[k * m_stride + i];
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) sum[v] = multiply_add(broadcast<V>(s), load<V>(b + k * b_step + v * W), sum[v]);
  }
#pragma GCC unroll 3
  for (int v = 0; v < NV; ++v) store(c + v * W, sum[v]);
}

// c (n x cols) += m b with the lower triangle of m (n x n), its diagonal included; or, with its columns on the left, with the transpose of
// that. What is above the diagonal is not looked at: a NaN there, or in rows of b that belong to it, stays where it is.
template <Left left, class T, class B>
void add_lower(int64_t n, const T* m, int64_t m_stride, Matrix<B> b, int64_t cols, Matrix<T> c) {
  constexpr bool turned = left == Left::columns;
  for_columns<T, Rest::apart>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    using V = typename C::Vector;
    const int64_t step = c.step(columns), b_step = b.step(columns);
    T* const to = c.column(columns, j);
    const T* const from = b.column(columns, j);
    for_panels(n, [&](auto rows, int64_t i) __attribute__((always_inline)) {
      const int64_t first = turned ? i + rows.value : 0, count = turned ? n - first : i;  // of the square beside the diagonal
      tile<left, rows.value, C::vectors, V>(count, turned ? m + first * m_stride + i : m + i * m_stride, m_stride, from + first * b_step,
                                            b_step, to + i * step, step, true);
      for (int r = 0; r < rows.value; ++r)
        add_few<left, C::vectors, V>(i + r, turned ? i + r : i, turned ? rows.value - r : r + 1, m, m_stride, from, b_step,
                                     to + (i + r) * step);
    });
  });
}

// The lower triangle of c (n x n, rows of whole vectors) = a (n x b.rows) b, where b has n columns and room for whole vectors; beside it
// lie some numbers more.
template <class T, class B>
void multiply_lower(int64_t n, const T* a, int64_t a_stride, Matrix<B> b, T* c, int64_t c_stride) {
  for_panels(n, [&](auto rows, int64_t i) __attribute__((always_inline)) {
    for_columns<T, Rest::apart>(round_up(i + rows.value, kLanes<T>), [&](auto columns, int64_t j) {
      using C = decltype(columns);
      tile<Left::rows, rows.value, C::vectors, typename C::Vector>(b.rows, a + i * a_stride, a_stride, b.at + j, b.stride,
                                                                   c + i * c_stride + j, c_stride, false);
    });
  });
}

// The transpose, where either lies in tiles.
template <class T, class From>
void transpose_into(int64_t rows, int64_t cols, Matrix<From> from, Matrix<T> to) {
  for_columns<T, Rest::apart>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    for_columns<T, Rest::apart>(rows, [&](auto across, int64_t i) {
      using A = decltype(across);
      transpose_rows<T>(A::count, C::count, from.column(columns, j) + i * from.step(columns), from.step(columns),
                        to.column(across, i) + j * to.step(across), to.step(across));
    });
  });
}
// A copy, either in rows or in tiles.
template <class T, class From>
void copy_matrix(int64_t rows, int64_t cols, Matrix<From> from, Matrix<T> to) {
  for_columns<T, Rest::apart>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int k = 0; k < C::count; ++k)
        to.column(columns, j)[i * to.step(columns) + k] = from.column(columns, j)[i * from.step(columns) + k];
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
