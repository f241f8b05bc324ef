// Exact queries of one point in double precision, in any dimension. README (1) to (3).
#pragma once
#include "wos/solid/field.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

struct Nearest {
  double distance;  // negative inside
  int64_t face;     // of a box: 2 axis, or 2 axis + 1 on the upper side; else 0
};

// The closest point of the boundary, in `at`, which is not x.
QF_HD Nearest nearest_on_ball(int64_t D, const double* x, double* at) {
  double r2 = 0;
  for (int64_t j = 0; j < D; ++j) r2 += x[j] * x[j];
  const double r = square_root(r2);
  for (int64_t j = 0; j < D; ++j) at[j] = r > 0 ? x[j] / r : j == 0;  // of the centre every point is the closest one
  return {r - 1, 0};
}
inline Nearest nearest_on_box(const double* half, int64_t D, const double* x, double* at) {
  double best = -1e300, beyond2 = 0;
  int64_t axis = 0;
  for (int64_t j = 0; j < D; ++j) {
    const double excess = (x[j] < 0 ? -x[j] : x[j]) - half[j];
    if (excess > best) best = excess, axis = j;
    if (excess > 0) beyond2 += excess * excess;
    at[j] = min(max(x[j], -half[j]), half[j]);
  }
  if (!(best > 0)) at[axis] = x[axis] < 0 ? -half[axis] : half[axis];
  return {best > 0 ? square_root(beyond2) : best, 2 * axis + !(x[axis] < 0)};
}
template <int D>
Nearest nearest_of_field(const Solid& solid, const double* x, double* at) {
  double here[D];
  for (int j = 0; j < D; ++j) here[j] = x[j];
  const double value = Distances<D>(solid).project(here);
  for (int j = 0; j < D; ++j) at[j] = here[j];
  return {value, 0};
}

inline Nearest nearest(const Solid& solid, int64_t D, const double* x, double* at) {
  if (solid.half) return nearest_on_box(solid.half, D, x, at);
  if (solid.field) return D == 2 ? nearest_of_field<2>(solid, x, at) : nearest_of_field<3>(solid, x, at);
  return nearest_on_ball(D, x, at);
}

template <int D>
double field_at(const Solid& solid, const double* x) {
  double here[D];
  for (int j = 0; j < D; ++j) here[j] = x[j];
  return Distances<D>(solid).at(here);
}
// The distance alone; `room` has D numbers.
inline double distance(const Solid& solid, int64_t D, const double* x, double* room) {
  if (solid.field) return D == 2 ? field_at<2>(solid, x) : field_at<3>(solid, x);
  return nearest(solid, D, x, room).distance;
}

// Whether a walk may start at x; one beyond the boundary by at most epsilon moves onto it. `outside`: the domain is.
inline bool keep(const Solid& solid, int64_t D, bool outside, double epsilon, double* x) {
  double at[kMostDimension];
  const double signed_distance = distance(solid, D, x, at), beyond = outside ? -signed_distance : signed_distance;
  if (!(beyond > 0 && beyond <= epsilon)) return beyond <= 0;
  nearest(solid, D, x, at);
  for (int64_t j = 0; j < D; ++j) x[j] = at[j];
  return true;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
