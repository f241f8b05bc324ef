// Matrix products in register tiles: rows of A times vectors of B, all sums in registers. The caller packs and blocks.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int kTileRows = kVectorBytes == 64 ? 8 : 4;  // 8 x 3 sums in 32 registers, 4 x 3 in 16: both leave room for B and a broadcast
constexpr int kTileVectors = 3;
constexpr int64_t kFarBytes = 2048;  // the hardware does not prefetch rows of the result this far apart

// Calls f(rows, first row) for panels that cover m rows, a multiple of `unit`: panels of kTileRows, then of 4, 2 and 1 rows.
template <int unit = 1, class F>
QF_HD void for_panels(int64_t m, F&& f) {
  int64_t i = 0;
  for (; m - i >= kTileRows; i += kTileRows) f(std::integral_constant<int, kTileRows>{}, i);
  if constexpr (kTileRows > 4 && unit <= 4)
    if (m - i >= 4) f(std::integral_constant<int, 4>{}, i), i += 4;
  if constexpr (unit <= 2)
    if (m - i >= 2) f(std::integral_constant<int, 2>{}, i), i += 2;
  if constexpr (unit == 1)
    if (m - i >= 1) f(std::integral_constant<int, 1>{}, i);
}

// The layout of A: panels of kTileRows, then 4, 2 and 1 rows, each stored column by column; row-major; or column-major.
enum class Left { panels, rows, columns };

// sum (rows x NV vectors) += a (rows x n) b (n x NV vectors). Sums run over n in order, so results do not depend on the tiling. Reads b
// once; a is broadcast from L1.
template <Left left, int rows, int NV, class V>
QF_HD void add_products(int64_t n, const Element<V>* a, int64_t a_stride, const Element<V>* b, int64_t b_stride, V (&sum)[rows][NV]) {
  constexpr int W = kWidth<V>;
  for (int64_t k = 0; k < n; ++k) {
    V x[NV];
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) x[v] = load<V>(b + k * b_stride + v * W);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const Element<V> s = a[left == Left::panels ? k * rows + i : left == Left::rows ? i * a_stride + k : k * a_stride + i];
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) sum[i][v] = multiply_add(broadcast<V>(s), x[v], sum[i][v]);
    }
  }
}
template <int rows, int NV, class V>
QF_HD void clear(V (&sum)[rows][NV]) {
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) sum[i][v] = V{};
}

// c (rows x NV vectors) = a (rows x n) b (n x NV vectors), added to c if `add`.
template <Left left, int rows, int NV, class V>
QF_HD void tile(int64_t n, const Element<V>* a, int64_t a_stride, const Element<V>* b, int64_t b_stride, Element<V>* c, int64_t c_stride,
                bool add) {
  constexpr int W = kWidth<V>;
  if (c_stride * int64_t(sizeof(Element<V>)) >= kFarBytes)  // a store that misses the cache takes longer than the tile
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) __builtin_prefetch(c + i * c_stride + v * W, 1, 3);
  V sum[rows][NV];
  clear(sum);
  add_products<left>(n, a, a_stride, b, b_stride, sum);
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) {
      Element<V>* const to = c + i * c_stride + v * W;
      store(to, add ? load<V>(to) + sum[i][v] : sum[i][v]);
    }
}

// Multiplies all m rows of A by one column of tiles, NV vectors wide. Row i of A begins at a + i * a_stride, or at a + i for Left::columns.
// For Left::panels, a_stride is n.
template <Left left, int NV, class V>
void tile_column(int64_t m, int64_t n, const Element<V>* a, int64_t a_stride, const Element<V>* b, int64_t b_stride, Element<V>* c,
                 int64_t c_stride, bool add) {
  for_panels(m, [&](auto rows, int64_t i) __attribute__((always_inline)) {
    tile<left, rows.value, NV, V>(n, a + (left == Left::columns ? i : i * a_stride), a_stride, b, b_stride, c + i * c_stride, c_stride,
                                  add);
  });
}

// A column of tiles: NV vectors of type V.
template <int NV, class V>
struct Columns {
  static constexpr int vectors = NV;
  static constexpr int count = NV * kWidth<V>;
  using Vector = V;
};

// How to treat remaining columns: with a full vector that overlaps the previous one; with narrower ones, for updates in place; not at all.
enum class Rest { overlapping, narrower, skipped };

template <class T, int W, Rest rest, class F>
QF_HD void for_few_columns(int64_t j, int64_t cols, F&& f) {
  if constexpr (W == 1) {
    if (cols > 0) f(Columns<1, T>{}, j);
  } else if (cols >= W) {
    f(Columns<1, Lanes<T, W>>{}, j);
    if (rest == Rest::narrower)
      for_few_columns<T, W / 2, rest>(j + W, cols - W, f);
    else if (cols > W)
      f(Columns<1, Lanes<T, W>>{}, j + cols - W);
  } else {
    for_few_columns<T, W / 2, rest>(j, cols, f);
  }
}

// Calls f(Columns, first column) until `cols` columns are covered.
template <class T, Rest rest = Rest::overlapping, class F>
QF_HD void for_columns(int64_t cols, F&& f) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  int64_t j = 0;
  for (; cols - j >= 3 * W && cols - j != 4 * W; j += 3 * W) f(Columns<3, V>{}, j);
  for (; cols - j >= 2 * W; j += 2 * W) f(Columns<2, V>{}, j);
  if (cols - j >= W) f(Columns<1, V>{}, j), j += W;
  if constexpr (rest != Rest::skipped) {
    if (j == cols) return;
    if (rest == Rest::overlapping && cols > W)
      f(Columns<1, V>{}, cols - W);
    else
      for_few_columns<T, W / 2, rest>(j, cols - j, f);
  }
}

// c (m x cols) = a (m x n) b (n x cols), added to c if `add`. b and c are row-major; a is row-major or column-major.
template <Left left = Left::rows, class T>
void multiply(int64_t m, int64_t n, const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t cols, T* c, int64_t c_stride,
              bool add = false) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    tile_column<left, C::vectors, typename C::Vector>(m, n, a, a_stride, b + j, b_stride, c + j, c_stride, add);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil
