// One mode product: a packed factor times blocks of an array, by tiles.
#pragma once
#include "kron/product/plan.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kNearBytes = 16 << 10;  // rows of B that lie within so many bytes stay in L1 as they are

// Where `count` blocks of B (n x cols) and of the result (m x cols) lie.
struct Blocks {
  int64_t count;
  int64_t b_step, b_stride;  // between blocks, between rows
  int64_t c_step, c_stride;
  int64_t cols;
};

// Numbers of workspace that `multiply` needs for sums of n.
template <class T>
QF_HD int64_t panel_numbers(int64_t n) {
  return n * kTileVectors * kLanes<T>;
}

// README (1) along an axis with others to its right: C = A B, block by block. Reads B once, or once more from L1 for every panel of A;
// writes C once, or once for every block of a sum longer than a panel is deep. C may be B if Rest is `apart`.
template <Rest rest, class T>
void multiply(const Stage<T>& s, const T* b, T* c, const Blocks& q, T* panel) {
  const int64_t depth = block_depth<T>(s.n);
  const bool pack = rest == Rest::apart || (s.m > kTileRows && s.n * q.b_stride * int64_t(sizeof(T)) > kNearBytes);
  const bool large = s.m * s.n > kLargeLeft;
  for (int64_t l = 0; l < q.count; ++l)
    for_columns<T, rest>(q.cols, [&](auto columns, int64_t j) {
      using V = typename decltype(columns)::Vector;
      const T* from = b + l * q.b_step + j;
      int64_t stride = q.b_stride;
      if (pack) {
        pack_panel<V, columns.vectors>(from, stride, s.n, panel);
        from = panel, stride = columns.count;
      }
      for (int64_t k = 0; k < s.n; k += depth) {
        const int64_t n = min(depth, s.n - k);
        if (large) check_interrupt(double(s.m * n * columns.count) * kMultiplyAddNs<T>);
        tile_column<Left::panels, columns.vectors, V>(s.m, n, s.a + k * s.m, n, from + k * stride, stride, c + l * q.c_step + j, q.c_stride,
                                                      k > 0);
      }
    });
}

// README (1) along the last axis: C (rows x m) = B (rows x n) A^T. Reads A once, B once for every three vectors of m, writes C once.
template <class T>
void multiply_last(const Stage<T>& s, int64_t rows, const T* b, T* c) {
  multiply_packed(rows, s.n, s.m, b, s.a, c);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
