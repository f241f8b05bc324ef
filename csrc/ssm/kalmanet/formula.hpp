// The formulas of Gated KalmaNet. Equation numbers: README.md.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// The root below 1 of mu^2 - 2 (1 + 2a) mu + 1: T_n(1 + 2a) = (mu^-n + mu^n) / 2.
QF_HD double chebyshev_root(double ridge_strength) {
  const double a = ridge_strength;
  return 1 / (1 + 2 * a + 2 * square_root(a * (1 + a)));
}

// (4) The weight of a degree, from geometric = the sum of mu^2i over i < n - degree. All terms are positive, so nothing cancels, even for a
// = 0.
QF_HD double chebyshev_weight(double mu, double degree, double n, double geometric) {
  return 2 * geometric * __builtin_pow(mu, degree + 1) / (1 + __builtin_pow(mu, 2 * n));
}

// (5) F times the polynomial at the upper end of the spectrum.
QF_HD double chebyshev_upper_end(double ridge_strength, double n) {
  const double mu = chebyshev_root(ridge_strength), sign = __builtin_fmod(n, 2) == 0 ? 1 : -1;
  return (1 - sign * 2 * __builtin_pow(mu, n) / (1 + __builtin_pow(mu, 2 * n))) / (1 + ridge_strength);
}

// The degree beyond which all weights are far below the rounding error of the first one; infinite for a = 0.
template <class T>
QF_HD double negligible_degree(double ridge_strength) {
  constexpr double bits = sizeof(T) == 8 ? 53 : 24, spare = 6;
  return (bits + spare) * 0.6931471805599453 / __builtin_log(1 / chebyshev_root(ridge_strength));
}

// The smallest normal number: an H with a smaller norm is treated as 0 (3).
template <class T>
constexpr double kMinNormal = sizeof(T) == 8 ? 2.2250738585072014e-308 : 1.1754943508222875e-38;

// The update of the state by one token: H <- e H + k k^T (1), and for M (9) M <- a M + b H + k m^T + m k^T with m = from_h h + from_k k.
template <class T>
struct KeyUpdate {
  T e, a, b, from_h, from_k;
  double norm;  // (8) norm of the new H
};

// (8), (9) from the norm F of the old H, k.h with h = (old H) k, and k.k. Only ratios of norms appear, so M does not depend on the scale of
// k. T is the type of the arrays, A that of the states.
template <class T, class A>
QF_HD KeyUpdate<A> key_update(A e, double F, double kh, double kk) {
  const double decayed = e * F, after = square_root(decayed * decayed + 2 * double(e) * kh + kk * kk);
  if (after < kMinNormal<T>) return {e, 0, 0, 0, 0, after};
  const double inverse = 1 / after, a = decayed * inverse, h = 16 * e * inverse;
  return {e, A(a * a), A(h * (a - 1)), A(h * inverse), A((8 * kk * inverse - 8) * inverse), after};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
