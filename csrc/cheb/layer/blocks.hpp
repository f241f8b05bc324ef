// Shared by the layer and its adjoint: the steps of all recurrences, and blocks of rows and inputs whose polynomials are computed in cache.
#pragma once
#include "cheb/layer/args.hpp"
#include "cheb/layer/formula.hpp"
#include "core/gemm/packed.hpp"
#include "core/run/memory.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

constexpr int64_t kRows = 96;  // rows of X at a time: a multiple of the tile height and of all vector widths
constexpr double kStepNs = 1;  // one step of a recurrence, per vector

// The steps (I, K), and the index of the first invalid element of b.
template <class T>
struct Recurrences {
  Scratch<Step<T>> steps;
  int64_t bad = -1;

  explicit Recurrences(const PolyLayer<T>& p) : steps(p.I * p.K) {
    for (int64_t i = 0; i < p.I; ++i)
      for (int64_t k = 0; k < p.K && bad < 0; ++k) {
        const T *const a = p.a + i * p.a_stride, *const b = p.b + i * p.b_stride;
        if (!(b[k] > 0 && b[k] - b[k] == T(0))) bad = b + k - p.b;
        steps[i * p.K + k] = step_to(k, a, b);
      }
  }
};

// The number of inputs whose polynomials together fill the depth of a panel.
template <class T>
int64_t inputs_together(const PolyLayer<T>& p) {
  return min(p.I, max<int64_t>(1, kPanelDepth<T> / max<int64_t>(1, p.K)));
}

// Column i of X as lanes, starting at row first + r. Lanes beyond the last of `rows` rows repeat that row.
template <class V, class T>
V column(const PolyLayer<T>& p, int64_t first, int64_t rows, int64_t r, int64_t i) {
  alignas(64) T x[kWidth<V>];
  for (int l = 0; l < kWidth<V>; ++l) x[l] = p.X[(first + min(r + l, rows - 1)) * p.I + i];
  return load<V>(x);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
