// Values of a Chebyshev-Tucker tensor at scattered points, a block of them at a time.
#pragma once
#include "cheb/scattered/cells.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// README (4): four sums over the core's last axis at once, folded at once into the other axes: nothing of size r^2 is stored.
// Reads the core once; the factor functions of kPoints points are in L1.
template <class T>
void contract(const Packed<T>& g, const int64_t* r, const T* functions, const T* rows, T* f) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, vectors = kVectors, stride = kPoints<T>;
  const T *last = functions + g.column_at[g.d - 1] * stride, *core = g.core;
  V total[vectors] = {};
  Odometer index;
  InterruptCheck check;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    check(matrix_ns(g, stride));
    V partial[vectors] = {};
    for (int64_t b = 0; b < g.rb_padded; b += kRows) {
      V t[kRows][vectors] = {};
      for (int64_t c = 0; c < g.rc; ++c, core += kRows)
        for (int v = 0; v < vectors; ++v) {
          const V x = load<V>(last + c * stride + v * W);
          for (int i = 0; i < kRows; ++i) t[i][v] += x * core[i];
        }
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) partial[v] += t[i][v] * load<V>(rows + (b + i) * stride + v * W);
    }
    for (int v = 0; v < vectors; ++v) total[v] += lead_product(g, index, functions + v * W, stride, -1, partial[v]);
  }
  for (int v = 0; v < vectors; ++v) store(f + v * W, total[v]);
}

// Per point: reads d coordinates, writes one value. Tables and core are read from cache once per kPoints points.
template <class T>
int64_t evaluate(const TuckerEval<T>& p, const Packed<T>& g) {
  constexpr int points = kPoints<T>;
  Interval intervals[kMaxAxes];
  map_intervals(p, intervals);
  int64_t bad = -1;
  const Cells<T> cells(g);
  const T* const data = cells_of(cells, g, p);
  const double ns = g.multiply_adds * kMultiplyAddNs<T> * points + 50;
  parallel_for((p.P + points - 1) / points, p.threads, ns, [&](int64_t begin, int64_t end) {
    const int64_t room = data ? kCellBlocks : 1;  // blocks whose functions are made axis by axis, so that a cache holds the axis's cells
    const int64_t ones = p.d == 1 ? g.rb_padded : 0, each = (g.total + 2 * p.d + ones) * points;
    Scratch<T> work(room * each + (data ? cells.widest * points : 0));
    for (int64_t from = begin; from < end; from += room) {
      const int64_t blocks = min(room, end - from);
      const auto at = [&](int64_t b) { return work + b * each; };
      const auto u = [&](int64_t b) { return at(b) + g.total * points; };
      const auto sign = [&](int64_t b) { return u(b) + p.d * points; };
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t found = map_points<T, points>(p, intervals, (from + b) * points, u(b), sign(b));
        if (found >= 0) note_first(bad, found);
      }
      for (int k = 0; k < p.d; ++k)
        for (int64_t b = 0; b < blocks; ++b) {
          T* functions = at(b);
          if (data && cells.half[k])
            cell_functions<T, 0>(cells, data, g, k, u(b), sign(b), &functions, at(room));
          else
            axis_functions<T>(g, g.table, k, u(b), sign(b), functions);
        }
      for (int64_t b = 0; b < blocks; ++b) {
        alignas(64) T f[points];
        const int64_t first = (from + b) * points, left = min<int64_t>(points, p.P - first);
        contract(g, p.r, at(b), row_functions(g, at(b), sign(b) + p.d * points, points), f);
        __builtin_memcpy(p.f + first, f, std::size_t(left) * sizeof(T));
      }
    }
  });
  return bad;
}

template <class T>
int64_t tucker_eval(const TuckerEval<T>& p) {
  if (p.P == 0) return -1;
  return p.packed ? evaluate(p, *static_cast<const Packed<T>*>(p.packed)) : evaluate(p, Packed<T>(p, kNarrow));
}

template <class T>
void* pack(const TuckerEval<T>& p) {
  return new Packed<T>(p, kNarrow);
}
template <class T>
void discard(void* packed) {
  delete static_cast<Packed<T>*>(packed);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
