// Closest points of balls, boxes and fields in double precision. README (1) to (3).
#pragma once
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

constexpr int kProjections = 8;  // maximum steps of (3); one is enough within epsilon of the boundary

struct Nearest {
  double distance;  // negative inside
  int64_t face;     // of a box: 2 axis, or 2 axis + 1 on the upper side; otherwise 0
};

// (1) Writes the closest point of the boundary to `at`, which may be x. X and At: pointers, or columns of tables.
template <class X, class At>
QF_HD Nearest nearest_on_ball(int64_t D, const X& x, const At& at) {
  double r2 = 0;
  for (int64_t j = 0; j < D; ++j) r2 += x[j] * x[j];
  const double r = square_root(r2);
  for (int64_t j = 0; j < D; ++j) at[j] = r > 0 ? x[j] / r : j == 0;  // all boundary points are equally close to the centre
  return {r - 1, 0};
}
template <class X, class At>
QF_HD Nearest nearest_on_box(const double* half, int64_t D, const X& x, const At& at) {
  double best = -1e300, beyond2 = 0;
  int64_t axis = 0, upper = 1;
  for (int64_t j = 0; j < D; ++j) {
    const double excess = (x[j] < 0 ? -x[j] : x[j]) - half[j];
    if (excess > best) best = excess, axis = j, upper = !(x[j] < 0);
    if (excess > 0) beyond2 += excess * excess;
  }
  for (int64_t j = 0; j < D; ++j)  // no computed index: a GPU would put the array on the stack
    at[j] = !(best > 0) && j == axis ? (upper ? half[j] : -half[j]) : min(max(x[j], -half[j]), half[j]);
  return {best > 0 ? square_root(beyond2) : best, 2 * axis + upper};
}
// Moves x to the closest point of the ball, in the walks' precision.
template <int D, class T>
QF_HD void project_on_ball(T (&x)[D]) {
  T r2{};
  for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
  const T scale = r2 > 0 ? T(1) / square_root(r2) : T(0);
  for (int i = 0; i < D; ++i) x[i] *= scale;
  if (!(r2 > 0)) x[0] = 1;
}

// (2) A field of signed distances on a grid, interpolated in double precision and scaled coordinates. `row`: README, The row of a field.
template <int D>
struct GridDistances {
  const double* row = nullptr;
  const double* values = nullptr;
  int64_t nodes[D] = {};

  QF_HD bool beyond(int axis, double x) const { return x < row[1 + D + axis] || x > row[1 + 2 * D + axis]; }
  QF_HD double clamped(int axis, double x) const { return min(max(x, row[1 + D + axis]), row[1 + 2 * D + axis]); }
  // Evaluates at W points, with slopes unless null. Outside its box, the field equals its value at the closest point. Reads 2^D values.
  template <class E>
  QF_HD E at(const E (&x)[D], E* slopes) const {
    double frame[D + 1] = {};
    frame[D] = 1;
    const double* const box = row + 1 + D;
    const auto cell = data::cells<E, D>(box, nodes, frame, x);
    E v[1 << D];
    data::corners<D, E>(values, nodes, cell.node, v);
    for (int i = 0; slopes && i < D; ++i) slopes[i] = data::slope<D>(v, cell.fraction, i) * (double(nodes[i] - 1) / (box[D + i] - box[i]));
    return data::interpolated<D>(v, cell.fraction);
  }
};
// Repeats (3) until x is on the boundary within rounding. `at(x, slopes)` evaluates the field. Returns the field at the initial x.
template <int D, class At>
QF_HD double project_on_field(const GridDistances<D>& grid, double (&x)[D], At&& at) {
  double first = 0;
  QF_ROLLED
  for (int k = 0; k < kProjections; ++k) {
    double slopes[D], steepness = 0;
    const double value = at(x, slopes);
    if (k == 0) first = value;
    for (int i = 0; i < D; ++i) steepness += slopes[i] * slopes[i];
    if (!(steepness > 1e-12) || (value < 1e-14 && value > -1e-14)) break;
    for (int i = 0; i < D; ++i) x[i] = grid.clamped(i, x[i] - value * slopes[i] / steepness);
  }
  return first;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
