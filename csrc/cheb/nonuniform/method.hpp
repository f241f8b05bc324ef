// Computes values, moments and their gradients by the faster of two algorithms. Gradients with respect to coefficients are moments,
// gradients with respect to weights are values, and gradients with respect to points are values of derivatives (8).
#pragma once
#include "cheb/nonuniform/contraction.hpp"
#include "cheb/nonuniform/interpolation.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

// The smallest eps for which the grid is used. For a smaller eps, rounding errors would dominate: psi has a rounding error of about one
// machine epsilon, and T_k amplifies it by a factor of k.
template <class T>
double least_eps(const Setting<T>& at) {
  if (sizeof(T) == 4) return 1e-5;
  int64_t longest = 0;
  for (int k = 0; k < at.d; ++k) longest = max(longest, at.n[k]);
  return max(1e-13, 4 * scattered::kEps<T> * double(longest));
}
constexpr double kGridNs = 4;  // per grid value: three transforms and a reflection

// Depends only on sizes, eps and `grid`: values and moments use the same algorithm and remain transposes of each other to rounding.
template <class T>
bool takes_grid(const Setting<T>& at) {
  if (at.grid) return true;
  if (at.d > kGridAxes || at.eps < least_eps(at)) return false;
  double numbers = 1, cells = kGridNs;
  for (int k = 0; k < at.d; ++k) {
    numbers *= double(at.n[k]);
    cells *= double(fast_length(max(kMinGrid, 2 * (at.n[k] - 1)))) + 1;
  }
  const GridShape g(at.d, at.n, at.eps);
  const double P = double(at.P);
  return cells + P * (point_ns<T>(g) + at.d * kLocateNs) < P * (numbers * kMultiplyAddNs<T> + 20);
}

template <class T>
bool is_empty(const Setting<T>& at) {
  for (int k = 0; k < at.d; ++k)
    if (at.n[k] == 0) return true;
  return false;
}

template <class T>
int64_t values(const Values<T>& v) {
  const Setting<T>& at = v.at;
  if (at.P == 0) return -1;
  if (is_empty(at) || !takes_grid(at)) {
    scattered::TuckerEval<T> p = as_tensor(at, v.C);
    p.f = v.f;
    return scattered::tucker_eval(p);
  }
  if (v.grid) {
    const auto* grid = static_cast<const Grid<T>*>(v.grid);
    return interpolate(at, *grid, grid->values(), v.f);
  }
  const Grid<T> grid(at);
  grid.fill(v.C);
  return interpolate(at, grid, grid.values(), v.f);
}

template <class T>
int64_t moments(const Moments<T>& m) {
  const Setting<T>& at = m.at;
  if (is_empty(at)) {  // only checks the points
    const Scratch<T> f(at.P);
    return values<T>({at, nullptr, f, nullptr});
  }
  if (!takes_grid(at)) return ContractedMoments<T>(m).run();
  const Grid<T> grid(at);
  const int64_t bad = spread_all(at, grid, m.q);
  if (bad < 0) grid.gather(m.M);
  return bad;
}

// Computes the coefficients of the derivative along an axis, one pencil at a time.
template <class T>
void differentiate_along(const Setting<T>& at, const T* C, int axis, T* D) {
  int64_t before = 1, after = 1;
  const int64_t n = at.n[axis];
  for (int k = 0; k < at.d; ++k)
    if (k != axis) (k < axis ? before : after) *= at.n[k];
  parallel_for(before * after, at.threads, 2 * double(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / after * n * after + i % after;
      scattered::differentiate(C + first, n, after, D + first, after);
    }
  });
}

// README (8): computes dX[p, k] = weight_p df/dx_k for coefficients C. Accurate even at the ends, where arccos has infinite slope.
template <class T>
int64_t slopes(const Setting<T>& at, const T* C, const T* weight, T* dX) {
  int64_t numbers = 1;
  for (int k = 0; k < at.d; ++k) numbers *= at.n[k];
  const Scratch<T> D(numbers), f(at.P);
  for (int k = 0; k < at.d; ++k) {
    differentiate_along<T>(at, C, k, D);
    const int64_t bad = values<T>({at, D, f, nullptr});
    if (bad >= 0) return bad;
    const T slope = T(2 / (at.hi[k] - at.lo[k]));
    parallel_for(at.P, at.threads, kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) dX[p * at.d + k] = weight[p] * f[p] * slope;
    });
  }
  return -1;
}

template <class T>
int64_t values_adjoint(const ValuesAdjoint<T>& v) {
  const Values<T>& forward = v.forward;
  const int64_t bad = moments<T>({forward.at, v.grad, v.dC});
  return bad < 0 ? slopes(forward.at, forward.C, v.grad, v.dX) : bad;
}

template <class T>
int64_t moments_adjoint(const MomentsAdjoint<T>& m) {
  const Moments<T>& forward = m.forward;
  const int64_t bad = values<T>({forward.at, m.grad, m.dq, nullptr});
  return bad < 0 ? slopes(forward.at, m.grad, forward.q, m.dX) : bad;
}

template <class T>
void* make_grid(const Values<T>& v) {
  auto* grid = new Grid<T>(v.at);
  grid->fill(v.C);
  return grid;
}
template <class T>
void discard(void* grid) {
  delete static_cast<Grid<T>*>(grid);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
