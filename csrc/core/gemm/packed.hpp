// Products with a matrix that is packed once and used for many tiles of rows.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/cplx.hpp"
#include "core/lanes/shuffles.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int64_t kPanelBytes = 24 << 10;  // of a packed column of tiles: it stays in L1 beside the rows of the left factor
template <class T>
constexpr int64_t kPanelDepth = kPanelBytes / (kTileVectors * kVectorBytes);

// Columns that a matrix of N columns has once packed: the last tile may overlap the one before it.
template <class T>
int64_t packed_columns(int64_t N) {
  int64_t count = 0;
  for_columns<T>(N, [&](auto columns, int64_t) { count += columns.count; });
  return count;
}

// m (K x N) -> its columns of tiles one after the other, the numbers of a row of a tile side by side.
template <class T>
void pack_columns(int64_t K, int64_t N, const T* m, T* to) {
  for_columns<T>(N, [&](auto columns, int64_t j) {
    using V = typename decltype(columns)::Vector;
    for (int64_t k = 0; k < K; ++k, to += columns.count)
      for (int v = 0; v < columns.vectors; ++v) store(to + v * kWidth<V>, load<V>(m + k * N + j + v * kWidth<V>));
  });
}

// What is needed soon: fetched a few lines at a time between tiles, it is in L2 when its turn comes.
class Ahead {
 public:
  Ahead() = default;
  template <class T>
  Ahead(const T* from, int64_t count) : line_(reinterpret_cast<const char*>(from)), end_(reinterpret_cast<const char*>(from + count)) {}
  QF_HD void step(int64_t tiles) {  // so many steps fetch all
    if (step_ == 0) step_ = (end_ - line_ + tiles * kLine - 1) / (tiles * kLine) * kLine;
    for (const char* const stop = min(line_ + step_, end_); line_ < stop; line_ += kLine) __builtin_prefetch(line_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;  // bytes
  const char *line_ = nullptr, *end_ = nullptr;
  int64_t step_ = 0;
};

// c (m x N) = a (m x K) times a packed matrix. Reads that matrix once, a once for every three vectors of N; writes c once, or once for
// every block of a sum longer than a panel is deep.
template <class T>
void multiply_packed(int64_t m, int64_t K, int64_t N, const T* a, const T* packed, T* c, Ahead ahead = {}) {
  const int64_t blocks = max<int64_t>(1, (K + kPanelDepth<T> - 1) / kPanelDepth<T>), depth = (K + blocks - 1) / blocks;
  const int64_t tiles = blocks * ((m + kTileRows - 1) / kTileRows) * ((N + kTileVectors * kLanes<T> - 1) / (kTileVectors * kLanes<T>));
  for_columns<T>(N, [&](auto columns, int64_t j) {
    using V = typename decltype(columns)::Vector;
    for (int64_t i = 0, k = 0; i < blocks; ++i, k += depth) {
      const int64_t n = min(depth, K - k);
      for_panels(m, [&](auto rows, int64_t row) __attribute__((always_inline)) {
        ahead.step(tiles);
        tile<Left::rows, rows.value, columns.vectors, V>(n, a + row * K + k, K, packed + k * columns.count, columns.count, c + row * N + j,
                                                         N, i > 0);
      });
    }
    packed += K * columns.count;
  });
}

// m (rows x cols, complex, `stride` apart) as two real matrices of the transposed shape, `to_stride` apart; one of its rows is W numbers
// of a register after a transposition.
template <class T>
void split_transposed(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im,
                      int64_t to_stride) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, half = W / 2;
  int64_t r = 0;
  for (; r + W <= rows; r += W) {
    int64_t c = 0;
    for (; c + half <= cols; c += half) {
      V square[W];
      for (int i = 0; i < W; ++i) square[i] = load<V>(reinterpret_cast<const T*>(m + (r + i) * stride + c));
      transpose(square);
      for (int i = 0; i < half; ++i) {
        store(re + (c + i) * to_stride + r, square[2 * i] * re_factor);
        store(im + (c + i) * to_stride + r, square[2 * i + 1] * im_factor);
      }
    }
    for (; c < cols; ++c)
      for (int i = 0; i < W; ++i) {
        re[c * to_stride + r + i] = re_factor * m[(r + i) * stride + c].re;
        im[c * to_stride + r + i] = im_factor * m[(r + i) * stride + c].im;
      }
  }
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t i = r; i < rows; ++i) {
      re[c * to_stride + i] = re_factor * m[i * stride + c].re;
      im[c * to_stride + i] = im_factor * m[i * stride + c].im;
    }
}

// The same without the transposition.
template <class T>
void split_parts(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      re[r * to_stride + c] = re_factor * m[r * stride + c].re;
      im[r * to_stride + c] = im_factor * m[r * stride + c].im;
    }
}

}  // namespace QF_ISA
}  // namespace quatrefoil
