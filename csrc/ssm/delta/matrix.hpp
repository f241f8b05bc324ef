// Matrices of a chunk: padded rows, their transposes and multiples.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/transpose.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int64_t kChunk = 32, kForwardChunk = 16;  // tokens, README: at most, and where there is no gradient
constexpr int64_t kBlock = 16;                      // of a chunk whose pairs are taken one by one, with a decay per channel

template <class T>
constexpr int64_t kRowUnit = kLanes<T> > kTileRows ? kLanes<T> : kTileRows;  // rows of a chunk are padded to a multiple

template <class T>
constexpr int64_t padded(int64_t n) {
  return round_up(n, kLanes<T>);
}
// The distance between rows: an odd number of cache lines, so that the rows of a column of tiles lie in different sets of L1.
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
  Matrix from(int64_t row, int64_t column = 0) const { return {at + row * stride + column, stride}; }
};

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

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
