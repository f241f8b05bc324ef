// Values of a Chebyshev-Tucker tensor at scattered points, a block of them at a time.
#pragma once
#include "cheb/scattered/factors.hpp"

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
  const double ns = g.multiply_adds * kMultiplyAddNs<T> * points + 50;
  parallel_for((p.P + points - 1) / points, p.threads, ns, [&](int64_t begin, int64_t end) {
    Scratch<T> work((g.total + 2 * p.d + (p.d == 1 ? g.rb_padded : 0)) * points);
    T *functions = work, *u = functions + g.total * points, *sign = u + p.d * points, *ones = sign + p.d * points;
    const T* rows = row_functions(g, functions, ones, points);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * points, left = min<int64_t>(points, p.P - first);
      const int64_t found = map_points<T, points>(p, intervals, first, u, sign);
      if (found >= 0) note_first(bad, found);
      for (int k = 0; k < p.d; ++k) axis_functions<T>(g, g.table, k, u, sign, functions);
      alignas(64) T f[points];
      contract(g, p.r, functions, rows, f);
      __builtin_memcpy(p.f + first, f, std::size_t(left) * sizeof(T));
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
