// Exact queries of one point in double precision, in any dimension. README (1) to (3).
#pragma once
#include "wos/solid/field.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

// Calls f(the solid's field in D = 2 or 3 dimensions, a copy of x).
template <class F>
double with_field(const Solid& solid, int64_t D, const double* x, F&& f) {
  double plane[2] = {x[0], x[1]};
  if (D == 2) return f(Distances<2>(solid), plane);
  double space[3] = {x[0], x[1], x[2]};
  return f(Distances<3>(solid), space);
}

// Writes the closest point of the boundary to `at`, which may be x.
inline Nearest nearest(const Solid& solid, int64_t D, const double* x, double* at) {
  if (solid.half) return nearest_on_box(solid.half, D, x, at);
  if (!solid.field) return nearest_on_ball(D, x, at);
  const double value = with_field(solid, D, x, [&](const auto& field, auto& here) {
    const double first = field.project(here);
    for (int64_t j = 0; j < D; ++j) at[j] = here[j];
    return first;
  });
  return {value, 0};
}
// The distance alone, negative inside; `at` is scratch space for D elements.
inline double distance(const Solid& solid, int64_t D, const double* x, double* at) {
  if (solid.field) return with_field(solid, D, x, [](const auto& field, const auto& here) { return field.at(here); });
  return nearest(solid, D, x, at).distance;
}

// Whether a walk may start at x. Moves x onto the boundary if it is beyond it by at most epsilon. `outside`: the domain is the exterior.
inline bool keep(const Solid& solid, int64_t D, bool outside, double epsilon, double* x) {
  double at[kMaxDimension];
  const double signed_distance = distance(solid, D, x, at), beyond = outside ? -signed_distance : signed_distance;
  if (!(beyond > 0 && beyond <= epsilon)) return beyond <= 0;
  nearest(solid, D, x, at);
  for (int64_t j = 0; j < D; ++j) x[j] = at[j];
  return true;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
