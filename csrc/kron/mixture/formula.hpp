// Stationary covariance functions and their derivatives. V is double or a SIMD vector of doubles. Equation numbers: README.md.
#pragma once
#include "core/lanes/elementary.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

constexpr double kLargestExponent = 800;  // e^-800 is 0 in float64, and an infinity times 0 would be NaN
constexpr double kLog2E = 1.44269504088896340736;
constexpr double kTwoPi = 6.28318530717958647693;

template <class V>
QF_HD V limited(V exponent) {
  return exponent > kLargestExponent ? broadcast<V>(kLargestExponent) : exponent;  // NaN stays
}

// A function of r^2 = sum_p (d_p / scale_p)^2, and its derivative with respect to r^2.
template <class V>
struct OfSquare {
  V value, slope;
};
// (1)
template <class V>
QF_HD OfSquare<V> squared_exponential(V square) {
  const V value = elementary::exp(V(-limited(V(square * 0.5))));
  return {value, value * -0.5};
}
// (2) The slope of matern12 is infinite at 0. Returning 0 there keeps the gradient with respect to the scale exact.
template <class V>
QF_HD OfSquare<V> matern12(V square) {
  const V s = limited(square_root(square)), E = elementary::exp(V(-s));
  return {E, s > 0.0 ? V(E / s * -0.5) : V{}};
}
template <class V>
QF_HD OfSquare<V> matern32(V square) {
  const V s = limited(square_root(V(square * 3.0))), E = elementary::exp(V(-s));
  return {(s + 1.0) * E, E * -1.5};
}
template <class V>
QF_HD OfSquare<V> matern52(V square) {
  const V s = limited(square_root(V(square * 5.0))), E = elementary::exp(V(-s));
  return {(s * (s * (1.0 / 3) + 1.0) + 1.0) * E, (s + 1.0) * E * (-5.0 / 6)};
}

// (2) and its derivative with respect to alpha.
template <class V>
struct RationalQuadratic {
  OfSquare<V> of_square;
  V by_alpha;
};
template <class V>
QF_HD RationalQuadratic<V> rational_quadratic(V square, double alpha) {
  constexpr double kLargest = 1e300;  // replaces larger squares, such as infinity, because infinity / infinity would be NaN
  const V q = (square < kLargest ? square : broadcast<V>(kLargest)) * (0.5 / alpha), one_more = q + 1.0, rounded = one_more - 1.0;
  const V log = rounded > 0.0 ? V(elementary::log(one_more) * (q / rounded)) : q;  // log(1 + q), corrected for the rounding of 1 + q
  const V value = elementary::exp(V(-limited(V(log * alpha))));
  return {{value, value / one_more * -0.5}, value * (q / one_more - log)};
}

// An envelope g and its first three derivatives with respect to d; `by_log_scale`: derivatives of g, g', g'' with respect to log_scale.
template <class V>
struct Envelope {
  V g[4], by_log_scale[4];
};
// (4), (6): a = sqrt(5) r
template <class V>
QF_HD Envelope<V> student_t(V a, V d) {
  const V along = a * d, s = limited(along < 0.0 ? V(-along) : along), E = elementary::exp2(V(s * -kLog2E));
  const V b = a * (1.0 / 3) * E, first = b * along, second = a * b;  // a^2 may overflow although first derivatives do not
  return {{(s * (s * (1.0 / 3) + 1.0) + 1.0) * E, -first * (s + 1.0), -second * ((1.0 - s) * s + 1.0), a * a * first * (3.0 - s)},
          {s * s * (s + 1.0) * E * (-1.0 / 3), -first * ((2.0 - s) * s + 2.0), -second * (((s - 5.0) * s + 2.0) * s + 2.0), V{}}};
}
// (5), (6)
template <class V>
QF_HD Envelope<V> gaussian(V p, V d) {
  const V u = limited(V(p * d * d)), E = elementary::exp2(V(u * -kLog2E));
  const V b = (p + p) * E, bd = b * d;
  return {{E, -bd, b * (u + u - 1.0), (p + p) * bd * (3.0 - (u + u))}, {-u * E, -bd * (1.0 - u), b * ((5.0 - (u + u)) * u - 1.0), V{}}};
}

// A wave of frequency f at d; m = 2 pi f. The phase f d, in turns, is exact.
template <class V>
struct Wave {
  V m, cosine, sine;
};
template <class V>
QF_HD Wave<V> wave(V f, V d) {
  const V turns = f * d;
  Wave<V> w;
  w.m = f * kTwoPi;
  elementary::sin_cos_of_turns(turns, multiply_add_exact(f, d, V(-turns)), w.sine, w.cosine);
  return w;
}

// (7) The derivative of g(d) cos(m d) of the given order.
template <int order, class V>
QF_HD V modulated(const V* g, const Wave<V>& w) {
  const V m = w.m, c = w.cosine, S = w.sine;
  if constexpr (order == 0)
    return g[0] * c;
  else if constexpr (order == 1)
    return g[1] * c - m * g[0] * S;
  else if constexpr (order == 2)
    return (g[2] - m * m * g[0]) * c - 2.0 * m * g[1] * S;
  else
    return (g[3] - 3.0 * m * m * g[1]) * c + m * (m * m * g[0] - 3.0 * g[2]) * S;
}
// (8) Its partial derivative with respect to m.
template <int order, class V>
QF_HD V modulated_by_m(const V* g, const Wave<V>& w, V d) {
  const V m = w.m, c = w.cosine, S = w.sine;
  if constexpr (order == 0)
    return -g[0] * d * S;
  else if constexpr (order == 1)
    return -(g[1] * d + g[0]) * S - m * g[0] * d * c;
  else
    return (m * m * g[0] * d - g[2] * d - 2.0 * g[1]) * S - 2.0 * m * (g[1] * d + g[0]) * c;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
