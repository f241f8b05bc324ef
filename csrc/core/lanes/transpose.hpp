// Transposes of matrices in memory, W x W tiles at a time in registers.
#pragma once
#include "core/lanes/shuffles.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// to (cols x rows) = the transpose of from (rows x cols), both row-major.
template <class T>
void transpose_rows(int64_t rows, int64_t cols, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const int64_t whole_rows = rows - rows % W, whole_cols = cols - cols % W;
  for (int64_t i = 0; i < whole_rows; i += W)
    for (int64_t j = 0; j < whole_cols; j += W) {
      V tile[W];
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) tile[k] = load<V>(from + (i + k) * from_stride + j);
      transpose(tile);
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) store(to + (j + k) * to_stride + i, tile[k]);
    }
  if (whole_cols < cols)
    for (int64_t i = 0; i < whole_rows; ++i)
      for (int64_t j = whole_cols; j < cols; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  if (whole_rows < rows)
    for (int64_t i = whole_rows; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

}  // namespace QF_ISA
}  // namespace quatrefoil
