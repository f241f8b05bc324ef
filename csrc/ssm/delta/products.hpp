// Products with matrices of a chunk: padded rows, triangular systems in blocks that are solved in registers.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/transpose.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int kBlock = 8;  // rows of a triangular block in registers
template <class T>
constexpr int64_t kRowUnit = kLanes<T> > kBlock ? kLanes<T> : kBlock;  // rows of a chunk are padded to a multiple
static_assert(kBlock % kTileRows == 0);

template <class T>
constexpr int64_t padded(int64_t n) {
  return round_up(n, kLanes<T>);
}
// From one row to the next: an odd number of cache lines, so that the rows of a column of tiles lie in different sets of L1.
template <class T>
constexpr int64_t spaced(int64_t n) {
  constexpr int64_t line = 64 / int64_t(sizeof(T));
  return ((n + line - 1) / line | 1) * line;
}

// A matrix whose rows begin `stride` apart.
template <class T>
struct Matrix {
  T* at;
  int64_t stride;
  T* operator[](int64_t i) const { return at + i * stride; }
};

// c (m x cols) = a b, or a^T b with a (n x m); b (n x cols); added to c if `add`.
template <class T>
void multiply(int64_t m, int64_t n, Matrix<T> a, Matrix<T> b, int64_t cols, Matrix<T> c, bool add) {
  quatrefoil::multiply(m, n, a.at, a.stride, b.at, b.stride, cols, c.at, c.stride, add);
}
template <class T>
void multiply_transposed(int64_t m, int64_t n, Matrix<T> a, Matrix<T> b, int64_t cols, Matrix<T> c, bool add) {
  quatrefoil::multiply<Left::columns>(m, n, a.at, a.stride, b.at, b.stride, cols, c.at, c.stride, add);
}

// to (cols x rows) = from^T.
template <class T>
void transpose_to(int64_t rows, int64_t cols, Matrix<T> from, Matrix<T> to) {
  transpose_rows(rows, cols, from.at, from.stride, to.at, to.stride);
}

// to row i = s[i] from row i.
template <class T>
void scale_rows(int64_t rows, int64_t cols, const T* s, Matrix<T> from, Matrix<T> to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < rows; ++i) {
    const V factor = broadcast<V>(s[i]);
    for (int64_t j = 0; j < cols; j += kLanes<T>) store(to[i] + j, V(factor * load<V>(from[i] + j)));
  }
}

// c (lower triangle, rows x rows; up to the end of each block) = a b with b (n x rows).
template <class T>
void multiply_to_lower(int64_t rows, int64_t n, Matrix<T> a, Matrix<T> b, Matrix<T> c) {
  for (int64_t i = 0; i < rows; i += kRowUnit<T>)
    multiply(kRowUnit<T>, n, Matrix<T>{a[i], a.stride}, b, i + kRowUnit<T>, Matrix<T>{c[i], c.stride}, false);
}

// c += m x with a lower triangular m. What stands above the diagonal is not looked at: a NaN in x stays in its row and below.
template <class T>
void add_lower_product(int64_t rows, int64_t cols, Matrix<T> m, Matrix<T> x, Matrix<T> c) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < rows; i += kBlock) {
    if (i) multiply(kBlock, i, Matrix<T>{m[i], m.stride}, x, cols, Matrix<T>{c[i], c.stride}, true);
    for (int64_t j = 0; j < cols; j += kLanes<T>) {
      V known[kBlock];
#pragma GCC unroll 8
      for (int r = 0; r < kBlock; ++r) {
        known[r] = load<V>(x[i + r] + j);
        V sum = load<V>(c[i + r] + j);
#pragma GCC unroll 8
        for (int s = 0; s <= r; ++s) sum = multiply_add(broadcast<V>(m[i + r][i + s]), known[s], sum);
        store(c[i + r] + j, sum);
      }
    }
  }
}

// (7) u <- u + m x with x = beta u row by row and a strictly lower triangular m; u and x may be one array, which then is x.
template <class T>
void solve_lower(int64_t rows, int64_t cols, Matrix<T> m, const T* beta, Matrix<T> u, Matrix<T> x) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < rows; i += kBlock) {
    if (i) multiply(kBlock, i, Matrix<T>{m[i], m.stride}, x, cols, Matrix<T>{u[i], u.stride}, true);
    for (int64_t j = 0; j < cols; j += kLanes<T>) {
      V known[kBlock];
#pragma GCC unroll 8
      for (int r = 0; r < kBlock; ++r) {
        V sum = load<V>(u[i + r] + j);
#pragma GCC unroll 8
        for (int s = 0; s < r; ++s) sum = multiply_add(broadcast<V>(m[i + r][i + s]), known[s], sum);
        store(u[i + r] + j, sum);
        known[r] = broadcast<V>(beta[i + r]) * sum;
        store(x[i + r] + j, known[r]);
      }
    }
  }
}

// (14) y <- y + m^T z with z = beta y, from the last row up.
template <class T>
void solve_lower_transposed(int64_t rows, int64_t cols, Matrix<T> m, const T* beta, Matrix<T> y, Matrix<T> z) {
  using V = Lanes<T>;
  for (int64_t i = rows - kBlock; i >= 0; i -= kBlock) {
    const int64_t below = i + kBlock;
    if (below < rows)
      multiply_transposed(kBlock, rows - below, Matrix<T>{m[below] + i, m.stride}, Matrix<T>{z[below], z.stride}, cols,
                          Matrix<T>{y[i], y.stride}, true);
    for (int64_t j = 0; j < cols; j += kLanes<T>) {
      V known[kBlock];
#pragma GCC unroll 8
      for (int r = kBlock - 1; r >= 0; --r) {
        V sum = load<V>(y[i + r] + j);
#pragma GCC unroll 8
        for (int s = kBlock - 1; s > r; --s) sum = multiply_add(broadcast<V>(m[i + s][i + r]), known[s], sum);
        store(y[i + r] + j, sum);
        known[r] = broadcast<V>(beta[i + r]) * sum;
        store(z[i + r] + j, known[r]);
      }
    }
  }
}

// c += m x and c += m^T x with a lower triangular m whose blocks on the diagonal are 0 above it.
template <class T>
void add_lower(int64_t rows, int64_t cols, Matrix<T> m, Matrix<T> x, Matrix<T> c) {
  for (int64_t i = 0; i < rows; i += kBlock)
    multiply(kBlock, i + kBlock, Matrix<T>{m[i], m.stride}, x, cols, Matrix<T>{c[i], c.stride}, true);
}
template <class T>
void add_lower_transposed(int64_t rows, int64_t cols, Matrix<T> m, Matrix<T> x, Matrix<T> c) {
  for (int64_t i = 0; i < rows; i += kBlock)
    multiply_transposed(kBlock, rows - i, Matrix<T>{m[i] + i, m.stride}, Matrix<T>{x[i], x.stride}, cols, Matrix<T>{c[i], c.stride}, true);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
