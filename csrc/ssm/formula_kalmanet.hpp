// The maths of Gated KalmaNet. Equation numbers: README.md beside this file.
#pragma once
#include "core/lanes.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

// The root below 1 of mu^2 - 2 (1 + 2a) mu + 1: T_n(1 + 2a) = (mu^-n + mu^n) / 2.
QF_HD double chebyshev_root(double ridge_strength) {
  const double a = ridge_strength;
  return 1 / (1 + 2 * a + 2 * square_root(a * (1 + a)));
}

// (74) The weights of num_iter steps, n = num_iter + 1. All that is summed is positive: nothing cancels, a = 0 included.
struct FoldedWeights {
  double square, mu, n;  // square: of the root mu^2 that belongs to s0
  bool third;
  FoldedWeights(double ridge_strength, int64_t num_iter)
      : mu(chebyshev_root(ridge_strength)), n(double(num_iter + 1)), third(num_iter % 2 == 0) {
    square = mu * mu * mu * mu;
  }
  // Of p_k(S), with geometric = the sum of square^i over i < m - k; half of it for k = 0 of the first kind.
  double weight(double k, double geometric) const {
    return (third ? 2 * (1 + mu * mu) : 4) * __builtin_pow(mu, 2 * k + 2) * geometric / (1 + __builtin_pow(mu, 2 * n));
  }
  // 1 / p_m(s0)
  double rest() const { return (third ? 1 / mu + mu : 2) * __builtin_pow(mu, n) / (1 + __builtin_pow(mu, 2 * n)); }
};

// The degree from which on the weights are far below a rounding error of the first one; infinite for a = 0.
template <class T>
QF_HD double negligible_degree(double ridge_strength) {
  constexpr double bits = sizeof(T) == 8 ? 53 : 24, spare = 6;
  return (bits + spare) * 0.6931471805599453 / __builtin_log(1 / chebyshev_root(ridge_strength));
}

// The least normal number: an H whose norm is below counts as 0 (72).
template <class T>
constexpr double kLeastNormal = sizeof(T) == 8 ? 2.2250738585072014e-308 : 1.1754943508222875e-38;

// What one token does to the state: H <- e H + k k^T (70), and for M (78) M <- a M + b H + k m^T + m k^T with m = from_h h + from_k k.
template <class T>
struct KeyUpdate {
  T e, a, b, from_h, from_k;
  double norm;  // (77) of the new H
};

// (77), (78) from the norm F of the old H, k.h with h = (old H) k, and k.k. Only ratios of norms appear: M does not know the scale of k.
template <class T>
QF_HD KeyUpdate<T> key_update(T e, double F, double kh, double kk) {
  const double kept = e * F, after = square_root(kept * kept + 2 * double(e) * kh + kk * kk);
  if (after < kLeastNormal<T>) return {e, 0, 0, 0, 0, after};
  const double inverse = 1 / after, a = kept * inverse, h = 16 * e * inverse;
  return {e, T(a * a), T(h * (a - 1)), T(h * inverse), T((8 * kk * inverse - 8) * inverse), after};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
