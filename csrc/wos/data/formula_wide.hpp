// Gaussians in any dimension, at one point in double precision. X and To are pointers or columns of tables.
#pragma once
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

template <class X>
QF_HD double bell_distance2(const double* bell, const X& x, int64_t D) {
  double r2 = 0;
  for (int64_t i = 0; i < D; ++i) r2 += (x[i] - bell[1 + i]) * (x[i] - bell[1 + i]);
  return r2;
}
template <class X>
QF_HD double bell_at(const double* bell, const X& x, int64_t D) {
  return bell[0] * exp_negative(-(bell[D + 1] * bell_distance2(bell, x, D)));
}
// (4) in any dimension.
template <class X, class To>
QF_HD void bell_adjoint(const double* bell, const X& x, int64_t D, double s, const To& to) {
  const double r2 = bell_distance2(bell, x, D), e = s * exp_negative(-(bell[D + 1] * r2));
  to[0] += e;
  for (int64_t i = 0; i < D; ++i) to[1 + i] += 2 * bell[0] * bell[D + 1] * e * (x[i] - bell[1 + i]);
  to[D + 1] -= bell[0] * e * r2;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
