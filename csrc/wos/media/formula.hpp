// Derivatives of the diffusion. Equation numbers refer to README.md.
#pragma once
#include "core/lanes/lanes.hpp"
#include "wos/data/formula.hpp"
#include "wos/walk/formula.hpp"

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

// A sum of Gaussians, its gradient and its Laplacian.
template <int D, class V>
QF_HD void derived_gaussians(const double* numbers, int64_t width, const V (&x)[D], V& value, V (&slope)[D], V& laplace) {
  using T = Element<V>;
  value = laplace = V{};
  for (int i = 0; i < D; ++i) slope[i] = V{};
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    const T q = T(numbers[k + D + 1]);
    V d[D], r2{};
    for (int i = 0; i < D; ++i) d[i] = x[i] - T(numbers[k + 1 + i]), r2 += d[i] * d[i];
    const V bell = data::exp_negative(-(r2 * q)) * T(numbers[k]), steep = bell * (T(2) * q);
    value += bell;
    for (int i = 0; i < D; ++i) slope[i] -= steep * d[i];
    laplace += steep * (r2 * (T(2) * q) - T(D));
  }
}

// (8) The first ball of a pair: the radius of the point inside, whether the walk jumps there, and the factors. `outward` multiplies the
// direction of the point inside if the walk jumps, otherwise that of the step.
template <class V>
struct FirstBall {
  V s, along, source, outward, toward;
  decltype(V{} < V{}) inside;
};

// `drawn`: a radius with the density of Laplace's equation. `choice` and `decides` are uniform in (0, 1).
template <int D, class V>
QF_HD FirstBall<V> first_ball(V drawn, V choice, V decides, V radius, Element<V> bound) {
  using T = Element<V>;
  const V one = broadcast<V>(T(1)), below = broadcast<V>(T(1) - T(sizeof(T) == 4 ? 0x1p-24 : 0x1p-53));  // keeps log s below 0
  const V s = lower(choice < T(0.5) ? choice * T(2) : drawn, below), L = -elementary::log(s);
  const V density = D == 2 ? s * L * T(4) : s * (one - s) * T(6), likely = density / (density * T(0.5) + T(0.5));
  const V z2 = radius * radius * bound;
  const walk::SourceWeight<V> w = walk::source_weight<D>(s, L, z2);
  const V value = w.value * likely, slope = w.gradient * likely / radius;
  const V left = one / walk::bessel_series<D - 2>(z2 * T(0.25)), q = one - left;
  const auto inside = decides < q;
  const V per_jump = z2 * T(walk::green_mass(D)) / (inside ? q : one);
  const V of_sphere = T(D) / (radius * left * walk::bessel_series<D>(z2 * T(0.25)));
  return {s, inside ? per_jump * value : one, value, inside ? per_jump * slope : of_sphere, slope, inside};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
