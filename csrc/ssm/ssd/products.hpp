// Products of the small matrices of a chunk, full or triangular, and the layouts of these matrices.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/transpose.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

// A matrix stored by rows, `stride` elements apart; or, if stride is 0, by columns of tiles, one tile row after the other. Tiles avoid rows
// a power of two apart, which would share a few sets of L1.
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

// A register tile of R rows of NV vectors. Several products are added to these sums before they are stored.
template <int R, int NV, class V>
struct Sums {
  using T = Element<V>;
  static constexpr int rows = R, vectors = NV, W = kWidth<V>;
  V at[R][NV];

  QF_HD void clear() { quatrefoil::clear(at); }
  // += a (R x n) b. Every tile adds the n terms in order.
  template <Left left>
  QF_HD void add(int64_t n, const T* a, int64_t a_stride, const T* b, int64_t b_step) {
    add_products<left>(n, a, a_stride, b, b_step, at);
  }
  // += the lower triangle of a (R x R), or with Left::columns its transpose, times b. Entries above the diagonal are not read, so a NaN in
  // them, or in the rows of b that they would multiply, does not spread.
  template <Left left>
  QF_HD void add_diagonal(const T* a, int64_t a_stride, const T* b, int64_t b_step) {
    constexpr bool transposed = left == Left::columns;
#pragma GCC unroll 8
    for (int k = 0; k < R; ++k)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        const V x = load<V>(b + k * b_step + v * W);
#pragma GCC unroll 8
        for (int r = transposed ? 0 : k; r < (transposed ? k + 1 : R); ++r)
          at[r][v] = multiply_add(broadcast<V>(transposed ? a[k * a_stride + r] : a[r * a_stride + k]), x, at[r][v]);
      }
  }
  QF_HD void scale_rows(const T* by) {
    each([&](int r, int, V& sum) __attribute__((always_inline)) { sum = sum * broadcast<V>(by[r]); });
  }
  // Prefetches the destination of the sums: fetching it takes about as long as computing them.
  QF_HD void fetch_for(T* to, int64_t step) const {
    for (int r = 0; r < R; ++r) fetch<true>(to + r * step, NV * W);
  }
  QF_HD void put(T* to, int64_t step) const {
    each([&](int r, int v, const V& sum) __attribute__((always_inline)) { store(to + r * step + v, sum); });
  }
  // to = by * from + the sums; both have the same layout.
  QF_HD void put_with(T by, const T* from, T* to, int64_t step) const {
    const V times = broadcast<V>(by);
    each([&](int r, int v, const V& sum)
             __attribute__((always_inline)) { store(to + r * step + v, multiply_add(times, load<V>(from + r * step + v), sum)); });
  }
  QF_HD void add_to(T* to, int64_t step) const {
    each([&](int r, int v, const V& sum) __attribute__((always_inline)) { store(to + r * step + v, V(load<V>(to + r * step + v) + sum)); });
  }
  // Adds the elementwise products of the sums and b to `lanes`, kLanes<T> elements per row. The sum over the lanes of a row is its dot
  // product with b.
  QF_HD void dot_rows(const T* b, int64_t b_stride, T* lanes) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      V along = load<V>(lanes + r * kLanes<T>);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) along = multiply_add(at[r][v], load<V>(b + r * b_stride + v * W), along);
      store(lanes + r * kLanes<T>, along);
    }
  }
  // Calls f(row, column, vector).
  template <class F>
  QF_HD void each(F&& f) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) f(r, v * W, at[r][v]);
  }
  template <class F>
  QF_HD void each(F&& f) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) f(r, v * W, at[r][v]);
  }
};

// Sums kLanes<T> elements per row. Computes a multiple of kLanes<T> rows.
template <class T>
void sum_lanes(int64_t rows, const T* lanes, T* to) {
  constexpr int W = kLanes<T>;
  for (int64_t i = 0; i < rows; i += W) {
    Lanes<T> square[W];
    for (int k = 0; k < W; ++k) square[k] = load<Lanes<T>>(lanes + (i + k) * W);
    store(to + i, sum_each(square));
  }
}

// Calls f(sums, first row, columns, first column) for the tiles of an m x cols matrix; f computes the sums. Rows after the last whole panel
// are processed one by one, because f is compiled for each height and few chunks have such rows.
template <class T, class F>
void for_tiles(int64_t m, int64_t cols, F&& f) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    const auto tile = [&](auto rows, int64_t i) __attribute__((always_inline)) {
      Sums<rows.value, C::vectors, typename C::Vector> sums;
      sums.clear();
      f(sums, i, columns, j);
    };
    int64_t i = 0;
    for (; m - i >= kTileRows; i += kTileRows) tile(std::integral_constant<int, kTileRows>{}, i);
    for (; i < m; ++i) tile(std::integral_constant<int, 1>{}, i);
  });
}

// c (m x cols) = a (m x b.rows) b, or c += a b if `add`. a is stored by rows, or with Left::columns by columns.
template <Left left, class T, class B>
void multiply(int64_t m, const T* a, int64_t a_stride, Matrix<B> b, int64_t cols, Matrix<T> c, bool add) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    tile_column<left, C::vectors, typename C::Vector>(m, b.rows, a, a_stride, b.column(columns, j), b.step(columns), c.column(columns, j),
                                                      c.step(columns), add);
  });
}

// Adds rows i, i + 1, ... of L b to a tile, where L is the lower triangle of m (n x n) with its diagonal, or with Left::columns its
// transpose.
template <Left left, class Tile, class T>
QF_HD void add_lower(Tile& sums, int64_t i, int64_t n, const T* m, int64_t m_stride, const T* b, int64_t b_step) {
  constexpr int R = Tile::rows;
  if constexpr (left == Left::columns) {
    sums.template add_diagonal<left>(m + i * m_stride + i, m_stride, b + i * b_step, b_step);
    sums.template add<left>(n - i - R, m + (i + R) * m_stride + i, m_stride, b + (i + R) * b_step, b_step);
  } else {
    sums.template add<left>(i, m + i * m_stride, m_stride, b, b_step);
    sums.template add_diagonal<left>(m + i * m_stride + i, m_stride, b + i * b_step, b_step);
  }
}
// c (n x cols) += L b.
template <Left left, class T, class B>
void add_lower(int64_t n, const T* m, int64_t m_stride, Matrix<B> b, int64_t cols, Matrix<T> c) {
  for_tiles<T>(n, cols, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
    add_lower<left>(sums, i, n, m, m_stride, b.column(columns, j), b.step(columns));
    sums.add_to(c.column(columns, j) + i * c.step(columns), c.step(columns));
  });
}

// The lower triangle of c (n x n, rows of whole vectors) = a (n x b.rows) b. b must be stored by rows, with n columns padded to whole
// vectors. Also writes a few elements to the right of the triangle.
template <class T, class B>
void multiply_lower(int64_t n, const T* a, int64_t a_stride, Matrix<B> b, T* c, int64_t c_stride) {
  for_panels(n, [&](auto rows, int64_t i) __attribute__((always_inline)) {
    for_columns<T, Rest::skipped>(round_up(i + rows.value, kLanes<T>), [&](auto columns, int64_t j) {
      using C = decltype(columns);
      tile<Left::rows, rows.value, C::vectors, typename C::Vector>(b.rows, a + i * a_stride, a_stride, b.at + j, b.stride,
                                                                   c + i * c_stride + j, c_stride, false);
    });
  });
}

// Transposes; either matrix may be stored in tiles.
template <class T, class From>
void transpose_into(int64_t rows, int64_t cols, Matrix<From> from, Matrix<T> to) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    for_columns<T, Rest::narrower>(rows, [&](auto across, int64_t i) {
      using A = decltype(across);
      transpose_rows<T>(A::count, C::count, from.column(columns, j) + i * from.step(columns), from.step(columns),
                        to.column(across, i) + j * to.step(across), to.step(across));
    });
  });
}
// Copies; either matrix may be stored in rows or in tiles.
template <class T, class From>
void copy_matrix(int64_t rows, int64_t cols, Matrix<From> from, Matrix<T> to) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int k = 0; k < C::count; ++k)
        to.column(columns, j)[i * to.step(columns) + k] = from.column(columns, j)[i * from.step(columns) + k];
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
