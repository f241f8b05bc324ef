// Products with a matrix that is packed once and used for many tiles of rows.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/run/cost.hpp"
#include "core/run/interrupt.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int64_t kPanelBytes = 24 << 10;  // size of a packed column of tiles, which stays in L1 together with the rows of the left factor
template <class T>
constexpr int64_t kPanelDepth = kPanelBytes / (kTileVectors * kVectorBytes);  // terms of a sum per panel

// Splits a sum of n terms into equal blocks, which are no longer than the depth of a panel; returns their length.
template <class T>
QF_HD int64_t block_depth(int64_t n) {
  const int64_t blocks = (n + kPanelDepth<T> - 1) / kPanelDepth<T>;
  return blocks > 1 ? (n + blocks - 1) / blocks : n;
}

// Packs n rows of NV vectors, `stride` apart. Without packing, rows far apart would share a few sets of L1.
template <class V, int NV>
QF_HD void pack_panel(const Element<V>* m, int64_t stride, int64_t n, Element<V>* to) {
  for (int64_t k = 0; k < n; ++k)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store(to + (k * NV + v) * kWidth<V>, load<V>(m + k * stride + v * kWidth<V>));
}

// The number of packed columns of a matrix of N columns: the last tile may overlap the one before it.
template <class T>
int64_t packed_columns(int64_t N) {
  int64_t count = 0;
  for_columns<T>(N, [&](auto columns, int64_t) { count += columns.count; });
  return count;
}

// Packs the columns of tiles of m (K x N) in order; each row of a tile is contiguous.
template <class T>
void pack_columns(int64_t K, int64_t N, const T* m, T* to) {
  InterruptCheck check;
  for_columns<T>(N, [&](auto columns, int64_t j) {
    check(double(K * columns.count));
    pack_panel<typename decltype(columns)::Vector, columns.vectors>(m + j, N, K, to);
    to += K * columns.count;
  });
}

// Prefetches data into L2, a few lines at a time between tiles.
class Ahead {
 public:
  Ahead() = default;
  template <class T>
  Ahead(const T* from, int64_t count) : line_(reinterpret_cast<const char*>(from)), end_(reinterpret_cast<const char*>(from + count)) {}
  QF_HD void step(int64_t tiles) {  // after `tiles` steps all data has been fetched
    if (step_ == 0) step_ = (end_ - line_ + tiles * kLine - 1) / (tiles * kLine) * kLine;
    for (const char* const stop = min(line_ + step_, end_); line_ < stop; line_ += kLine) __builtin_prefetch(line_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;  // bytes
  const char *line_ = nullptr, *end_ = nullptr;
  int64_t step_ = 0;
};
struct NothingAhead {
  QF_HD void step(int64_t) {}
};

constexpr int64_t kLargeLeft = 64 << 10;  // elements of a; with more, a column of tiles takes at least 50 us

// c (m x N) = a (m x K) times a packed matrix. Reads the packed matrix once, and a once per three vectors of columns. Writes c once per
// block of a long sum.
template <class T, class Next = NothingAhead>
void multiply_packed(int64_t m, int64_t K, int64_t N, const T* a, const T* packed, T* c, Next ahead = {}) {
  const int64_t depth = max<int64_t>(block_depth<T>(K), 1), blocks = max<int64_t>(1, (K + depth - 1) / depth);
  const int64_t tiles = blocks * ((m + kTileRows - 1) / kTileRows) * ((N + kTileVectors * kLanes<T> - 1) / (kTileVectors * kLanes<T>));
  const bool large = m * K > kLargeLeft;
  for_columns<T>(N, [&](auto columns, int64_t j) {
    using V = typename decltype(columns)::Vector;
    for (int64_t i = 0, k = 0; i < blocks; ++i, k += depth) {
      const int64_t n = min(depth, K - k);
      if (large) check_interrupt(double(m * n * columns.count) * kMultiplyAddNs<T>);
      if constexpr (std::is_same_v<Next, NothingAhead>)  // 10 % faster for tiny matrices than the loop below
        tile_column<Left::rows, columns.vectors, V>(m, n, a + k, K, packed + k * columns.count, columns.count, c + j, N, i > 0);
      else
        for_panels(m, [&](auto rows, int64_t row) __attribute__((always_inline)) {
          ahead.step(tiles);
          tile<Left::rows, rows.value, columns.vectors, V>(n, a + row * K + k, K, packed + k * columns.count, columns.count,
                                                           c + row * N + j, N, i > 0);
        });
    }
    packed += K * columns.count;
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil
