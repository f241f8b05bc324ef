// Copies data into the layout of the tiles.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/shuffles.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

// An array (L, n, R) as L R vectors of length n, one per pair (l, r).
template <class T>
struct Pairs {
  const T* data;
  int64_t n, R;
};

// to (count x columns) = elements j..j + columns - 1 of the vectors first..first + count - 1. Transposes runs along r in registers.
template <int columns, class T>
void pack_pairs(const Pairs<T>& x, int64_t j, int64_t first, int64_t count, T* to) {
  constexpr int W = min(columns, kLanes<T>);
  if (x.R == 1) {
    for (int64_t q = 0; q < count; ++q)
      for (int c = 0; c < columns; ++c) to[q * columns + c] = x.data[(first + q) * x.n + j + c];
    return;
  }
  for (int64_t q = 0; q < count;) {
    const int64_t l = (first + q) / x.R, r = (first + q) % x.R, run = min(count - q, x.R - r);
    const T* from = x.data + (l * x.n + j) * x.R + r;
    int64_t i = 0;
    if constexpr (W > 1 && columns % W == 0) {
      using V = Lanes<T, W>;
      for (; i + W <= run; i += W)
        for (int c = 0; c < columns; c += W) {
          V square[W];
          for (int t = 0; t < W; ++t) square[t] = load<V>(from + (c + t) * x.R + i);
          transpose(square);
          for (int t = 0; t < W; ++t) store(to + (q + i + t) * columns + c, square[t]);
        }
    }
    for (; i < run; ++i)
      for (int c = 0; c < columns; ++c) to[(q + i) * columns + c] = from[c * x.R + i];
    q += run;
  }
}

template <class T>
struct Source {  // a factor, or a product of several, before packing
  const T* data;
  int64_t m, n, row, column;  // sizes and strides, one of which is 1
  QF_HD T operator()(int64_t i, int64_t j) const { return data[i * row + j * column]; }
};

// to (count x rows) = A[i .. i + rows - 1, k .. k + count - 1], transposed.
template <int rows, class T>
void pack_rows(const Source<T>& a, int64_t i, int64_t k, int64_t count, T* to) {
  if (a.column == 1) return pack_pairs<rows>(Pairs<T>{a.data, a.m, a.row}, i, k, count, to);
  for (int64_t j = 0; j < count; ++j)
    for (int r = 0; r < rows; ++r) to[j * rows + r] = a.data[i + r + (k + j) * a.column];
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
