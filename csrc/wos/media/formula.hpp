// Derivatives of the diffusion. Equation numbers refer to README.md.
#pragma once
#include "core/lanes/lanes.hpp"
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

// (3) from alpha, the squared norm of its gradient and its Laplacian.
template <class V>
QF_HD V curvature(V alpha, V slope2, V laplace) {
  const V inverse = Element<V>(1) / alpha;
  return (laplace - slope2 * inverse * Element<V>(0.5)) * inverse * Element<V>(0.5);
}

// (4) for a function, from its values at a point and one step before and after it on each axis.
template <int D>
QF_HD double curvature_of_differences(const double* values, double per_step2) {
  double total = 0;
  for (int i = 0; i < D; ++i) total += square_root(values[1 + 2 * i]) + square_root(values[2 + 2 * i]);
  return (total / square_root(values[0]) - 2 * D) * per_step2;
}

// Coefficients of a polynomial's derivatives, in tables of the polynomial's size: one derivative per axis, then the Laplacian.
template <int D>
QF_HD void derive(const double* c, const int64_t (&n)[D], double* slopes, double* laplace) {
  int64_t count = 1, stride[D];
  for (int i = D - 1; i >= 0; --i) stride[i] = count, count *= n[i];
  for (int64_t k = 0; k < count; ++k) {
    laplace[k] = 0;
    for (int i = 0; i < D; ++i) {
      const int64_t power = k / stride[i] % n[i];
      slopes[i * count + k] = power + 1 < n[i] ? double(power + 1) * c[k + stride[i]] : 0;
      if (power + 2 < n[i]) laplace[k] += double((power + 2) * (power + 1)) * c[k + 2 * stride[i]];
    }
  }
}

// A sum of Gaussians, the squared norm of its gradient and its Laplacian.
template <int D, class V>
QF_HD void derived_gaussians(const double* numbers, int64_t width, const V (&x)[D], V& value, V& slope2, V& laplace) {
  using T = Element<V>;
  V slope[D] = {};
  value = laplace = V{};
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    const T q = T(numbers[k + D + 1]);
    V d[D], r2{};
    for (int i = 0; i < D; ++i) d[i] = x[i] - T(numbers[k + 1 + i]), r2 += d[i] * d[i];
    const V bell = data::exp_negative(-(r2 * q)) * T(numbers[k]), steep = bell * (T(2) * q);
    value += bell;
    for (int i = 0; i < D; ++i) slope[i] -= steep * d[i];
    laplace += steep * (r2 * (T(2) * q) - T(D));
  }
  slope2 = V{};
  for (int i = 0; i < D; ++i) slope2 += slope[i] * slope[i];
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
