// Values and moments by whichever way costs less.
#pragma once
#include "cheb/nonuniform/contraction.hpp"
#include "cheb/nonuniform/interpolation.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

// What a grid delivers: below, its rounding errors are as large as what is asked for. A position is rounded to about eps, and T_k
// changes k times as much.
template <class T>
double least_eps(const Setting<T>& at) {
  if (sizeof(T) == 4) return 1e-5;
  int64_t longest = 0;
  for (int k = 0; k < at.d; ++k) longest = max(longest, at.n[k]);
  return max(1e-13, 4 * scattered::kEps<T> * double(longest));
}
constexpr double kGridNs = 4;  // of one number of the grid: three transforms, reflection

// By sizes alone, so that values and moments go the same way and stay transposes of each other to rounding.
template <class T>
bool takes_grid(const Setting<T>& at) {
  if (at.grid) return true;
  if (at.d > kGridAxes || at.eps < least_eps(at)) return false;
  double numbers = 1, cells = kGridNs;
  for (int k = 0; k < at.d; ++k) {
    numbers *= double(at.n[k]);
    cells *= double(friendly(max(kLeastGrid, 2 * (at.n[k] - 1)))) + 1;
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
    const auto* made = static_cast<const Grid<T>*>(v.grid);
    return interpolate(at, *made, made->values(), v.f);
  }
  const Grid<T> grid(at);
  grid.fill(v.C);
  return interpolate(at, grid, grid.values(), v.f);
}

template <class T>
int64_t moments(const Moments<T>& m) {
  const Setting<T>& at = m.at;
  if (is_empty(at)) {  // nothing to write, but the points must be right
    const Scratch<T> f(at.P);
    return values<T>({at, nullptr, f, nullptr});
  }
  if (!takes_grid(at)) return ContractedMoments<T>(m).run();
  const Grid<T> grid(at);
  const int64_t bad = spread_all(at, grid, m.q);
  if (bad < 0) grid.gather(m.M);
  return bad;
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
