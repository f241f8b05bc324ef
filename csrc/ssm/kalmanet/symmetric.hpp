// Stores symmetric matrices as the lower half of a square of W x W tiles. This needs half the bytes, so that D = 128 in float32 still
// nearly fits in L1. Tile (I, J), J <= I, is row-major and has index I (I + 1) / 2 + J; tiles on the diagonal are stored in full. Entries
// beyond D are zero.
#pragma once
#include "core/lanes/lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/cost.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

template <class T>
QF_HD constexpr int64_t tiles_across(int64_t D) {
  return (D + kLanes<T> - 1) / kLanes<T>;
}
template <class T>
QF_HD constexpr int64_t padded(int64_t D) {
  return tiles_across<T>(D) * kLanes<T>;
}
// The number of elements in the tiles of a D x D matrix.
template <class T>
QF_HD constexpr int64_t tiled_size(int64_t D) {
  return tiles_across<T>(D) * (tiles_across<T>(D) + 1) / 2 * kLanes<T> * kLanes<T>;
}
template <class T>
QF_HD T* tile_at(T* a, int64_t I, int64_t J) {
  constexpr int W = kLanes<std::remove_const_t<T>>;
  return a + (I * (I + 1) / 2 + J) * W * W;
}
template <class T>
QF_HD T& entry(T* a, int64_t i, int64_t j) {  // requires i / W >= j / W
  constexpr int W = kLanes<std::remove_const_t<T>>;
  return tile_at(a, i / W, j / W)[i % W * W + j % W];
}

// Calls f(I, J, offset) for every stored tile, in memory order.
template <class F>
QF_HD void for_tiles(int64_t tiles, int64_t tile_size, F&& f) {
  int64_t offset = 0;
  for (int64_t I = 0; I < tiles; ++I)
    for (int64_t J = 0; J <= I; ++J, offset += tile_size) f(I, J, offset);
}

// a = (A + A^T) / 2 in tiles, with A = dense (D x D), or 0 if that is absent.
template <class T, class A>
void to_tiles(int64_t D, const T* dense, A* a) {
  set_zero(a, tiled_size<A>(D));
  if (!dense) return;
  for (int64_t i = 0; i < D; ++i)
    for (int64_t j = 0; j < min(D, padded<A>(i + 1)); ++j) entry(a, i, j) = (A(dense[i * D + j]) + A(dense[j * D + i])) / 2;
}
template <class T>
void from_tiles(int64_t D, const T* a, T* dense) {
  for (int64_t i = 0; i < D; ++i)
    for (int64_t j = 0; j < D; ++j) dense[i * D + j] = j <= i ? entry(a, i, j) : entry(a, j, i);
}

// Multiplies N neighbouring tiles in one row of tiles: y_columns += tiles^T x_rows and, below the diagonal, dots[i] += (row i) x_columns.
// If `last`, the last tile is on the diagonal. Reads a row once for both products, and an entry of x once for all tiles.
template <int N, bool last, class V>
QF_HD void multiply_tiles(const Element<V>* tiles, const Element<V>* x_rows, const Element<V>* x_columns, V* dots, Element<V>* y_columns) {
  constexpr int W = kWidth<V>;
  V column[N], part[N];
#pragma GCC unroll 4
  for (int c = 0; c < N; ++c) column[c] = load<V>(x_columns + c * W), part[c] = V{};  // from 0, not y: shortens the chain of sums
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) {
    const V x_i = keep(broadcast<V>(x_rows[i]));
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) {
      const V row = keep(load<V>(tiles + (c * W + i) * W));
      part[c] = multiply_add(row, x_i, part[c]);
      if (!last || c + 1 < N) dots[i] = multiply_add(row, column[c], dots[i]);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < N; ++c) store(y_columns + c * W, V(load<V>(y_columns + c * W) + part[c]));
}

// y += A x, both of padded length. Reads the tiles once, in ascending or descending order. If the tiles exceed L1, the next call, in the
// opposite order, finds the last ones still in the cache.
template <class T>
void add_symmetric_product(int64_t tiles, const T* a, const T* x, T* y, bool falling = false) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, group = 4;  // 16 dots, 4 columns with their sums, a row and a broadcast: 26 of 32 registers
  for (int64_t s = 0; s < tiles; ++s) {
    const int64_t I = falling ? tiles - 1 - s : s;
    const T *row = tile_at(a, I, 0), *const x_I = x + I * W;
    V dots[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) dots[i] = V{};
    int64_t J = 0;
    for (; I - J >= group; J += group) multiply_tiles<group, false>(row + J * W * W, x_I, x + J * W, dots, y + J * W);
    row += J * W * W;
    if (I - J == 3)
      multiply_tiles<4, true>(row, x_I, x + J * W, dots, y + J * W);
    else if (I - J == 2)
      multiply_tiles<3, true>(row, x_I, x + J * W, dots, y + J * W);
    else if (I - J == 1)
      multiply_tiles<2, true>(row, x_I, x + J * W, dots, y + J * W);
    else
      multiply_tiles<1, true>(row, x_I, x + J * W, dots, y + J * W);
    if (I > 0) store(y + I * W, V(load<V>(y + I * W) + sum_each(dots)));
  }
}

template <class T>
void multiply_symmetric(int64_t tiles, const T* a, const T* x, T* y) {
  set_zero(y, tiles * kLanes<T>);
  add_symmetric_product(tiles, a, x, y);
}

// For N pivot rows p, subtracts a[p][i] inverse[p] times row p from row i, up to the diagonal. The rest of the last vector is not used.
template <int N, class T>
QF_HD void eliminate_row(T* a, int64_t stride, int64_t i, int64_t pivot, const T* inverse) {
  using V = Lanes<T>;
  V factor[N];
#pragma GCC unroll 4
  for (int p = 0; p < N; ++p) factor[p] = broadcast<V>(-a[(pivot + p) * stride + i] * inverse[pivot + p]);
  for (int64_t j = 0; j <= i; j += kLanes<T>) {
    V row = load<V>(a + i * stride + j);
#pragma GCC unroll 4
    for (int p = 0; p < N; ++p) row = multiply_add(factor[p], load<V>(a + (pivot + p) * stride + j), row);
    store(a + i * stride + j, row);
  }
}

// Eliminates from the last row up. The D rows of A, `stride` apart, are replaced up to the diagonal by those of the factor; the diagonal
// and the rest of its vector become 0. Stores the reciprocal pivots in `inverse`. Uses no square roots, so indefinite matrices are possible
// too. Makes D / 4 passes over the lower half, with fewer rows each time.
template <class T>
void eliminate(int64_t D, T* a, int64_t stride, T* inverse) {
  constexpr int panel = 4;
  InterruptCheck check;
  for (int64_t end = D; end > 0; end -= panel) {
    check(double(2 * end * end) * kMultiplyAddNs<T>);
    const int64_t first = max<int64_t>(end - panel, 0);
    for (int64_t p = end - 1; p >= first; --p) {
      inverse[p] = T(1) / a[p * stride + p];
      for (int64_t j = p; j < padded<T>(p + 1); ++j) a[p * stride + j] = 0;
      for (int64_t i = first; i < p; ++i) eliminate_row<1>(a, stride, i, p, inverse);
    }
    for (int64_t i = 0; i < first; ++i) eliminate_row<panel>(a, stride, i, first, inverse);
  }
}
// x <- A^-1 x, given the result of eliminate. x has padded length. Reads the lower half twice.
template <class T>
void solve_eliminated(int64_t D, const T* a, int64_t stride, const T* inverse, T* x) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int64_t p = D - 1; p > 0; --p) {
    const V factor = broadcast<V>(-x[p] * inverse[p]);
    for (int64_t i = 0; i < p; i += W) store(x + i, multiply_add(factor, load<V>(a + p * stride + i), load<V>(x + i)));
  }
  for (int64_t first = 0; first < D; first += W) {  // adds the terms of all earlier rows to W rows, then solves row by row
    V dots[W];
    for (int r = 0; r < W; ++r) {
      dots[r] = V{};
      for (int64_t j = 0; j < first && first + r < D; j += W)
        dots[r] = multiply_add(load<V>(a + (first + r) * stride + j), load<V>(x + j), dots[r]);
    }
    const V before = sum_each(dots);
    T known[W];
    store(known, before);
    for (int64_t p = first; p < min(first + W, D); ++p) {
      T rest = 0;
      for (int64_t j = first; j < p; ++j) rest += a[p * stride + j] * x[j];
      x[p] = (x[p] - known[p - first] - rest) * inverse[p];
    }
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
