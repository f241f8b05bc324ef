// Matrices of a chunk: padded rows, their transposes and multiples.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/transpose.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int64_t kChunk = 32, kForwardChunk = 16;  // maximum tokens per chunk, with and without a gradient (README)
constexpr int64_t kBlock = 16;                      // tokens per block with a decay per channel; pairs in a block are processed one by one

template <class T>
constexpr int64_t kRowUnit = kLanes<T> > kTileRows ? kLanes<T> : kTileRows;  // rows of a chunk are padded to a multiple of this

template <class T>
constexpr int64_t padded(int64_t n) {
  return round_up(n, kLanes<T>);
}
// The distance between rows: an odd number of cache lines, so that the rows of a column of tiles use different sets of L1.
template <class T>
constexpr int64_t spaced(int64_t n) {
  constexpr int64_t line = 64 / int64_t(sizeof(T));
  return ((n + line - 1) / line | 1) * line;
}

// A matrix whose rows are `stride` apart.
template <class T>
struct Matrix {
  T* at;
  int64_t stride;
  T* operator[](int64_t i) const { return at + i * stride; }
  Matrix from(int64_t row, int64_t column = 0) const { return {at + row * stride + column, stride}; }
};

// Writes the transpose of `from` to `to` (cols x rows).
template <class T>
void transpose_to(int64_t rows, int64_t cols, Matrix<T> from, Matrix<T> to) {
  transpose_rows(rows, cols, from.at, from.stride, to.at, to.stride);
}

// Row i of `to` = s[i] times row i of `from`.
template <class T>
void scale_rows(int64_t rows, int64_t cols, const T* s, Matrix<T> from, Matrix<T> to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < rows; ++i) {
    const V factor = broadcast<V>(s[i]);
    for (int64_t j = 0; j < cols; j += kLanes<T>) store(to[i] + j, V(factor * load<V>(from[i] + j)));
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
