// The Green's function of a ball in more than three dimensions, relative to that of the Laplace equation. README (21), (22).
#pragma once
#include "core/lanes/elementary.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int kRadialTerms = 14;  // of series in z^2 / 4 <= 1

// A function of the radius s and its slope.
struct Radial {
  double value, slope;
};

// (9) for any order nu = half / 2.
inline double bessel_series(double half, double q) {
  double sum = 1;
  for (int k = kRadialTerms; k >= 1; --k) sum = sum * q / (k * (0.5 * half + k)) + 1;
  return sum;
}
// (22) s^(D - 2) times the solution that is s^(2 - D) (1 + ...) at 0: in odd dimensions Psi of the order -nu, else with a logarithm.
inline Radial singular_radial(int64_t D, double q, double s) {
  const double t = q * s * s, slope_of_t = 2 * q * s;
  if (D % 2) {
    const double half = double(2 - D);
    double sum = 0, slope = 0, term = 1;
    for (int k = 0; k <= kRadialTerms + D / 2; ++k) {
      sum += term;
      const double next = term / ((k + 1) * (0.5 * half + k + 1));
      slope += (k + 1) * next;
      term = next * t;
    }
    return {sum, slope * slope_of_t};
  }
  const int64_t n = D / 2 - 1;
  double sum = 0, slope = 0, term = 1;  // sum_k<n (-t)^k (n - 1 - k)! / ((n - 1)! k!)
  for (int64_t k = 0; k < n; ++k) {
    sum += term;
    if (k + 1 == n) break;
    const double next = -term / (double(n - 1 - k) * double(k + 1));
    slope += double(k + 1) * next;
    term = next * t;
  }
  double power = n % 2 ? 2 : -2, harmonic = 0;  // t^(n - 1) times 2 (-1)^(n + 1) / ((n - 1)! n!)
  for (int64_t k = 1; k <= n; ++k) power /= double(k), harmonic += 1.0 / double(k);
  for (int64_t k = 1; k < n; ++k) power *= t / double(k);
  const double logarithm = elementary::log(s);
  double shared = harmonic;  // H_k + H_(n + k)
  for (int64_t k = 0; k <= kRadialTerms; ++k) {
    const double about = logarithm - 0.5 * shared;
    sum += power * t * about;
    slope += power * (double(n + k) * about + 0.5);  // d ln s / dt = 1 / (2 t)
    power *= t / (double(k + 1) * double(n + k + 1));
    shared += 1 / double(k + 1) + 1 / double(n + k + 1);
  }
  return {sum, slope * slope_of_t};
}

// (21) How a source point at r = s R weighs against G / |G| of the Laplace equation.
inline SourceWeight<double> source_weight_wide(int64_t D, double s, double z2) {
  const double q = 0.25 * z2, qs = q * s * s, half = double(D - 2);
  double power = 1;  // s^(D - 2)
  for (int64_t k = 2; k < D; ++k) power *= s;
  const Radial here = singular_radial(D, q, s), end = singular_radial(D, q, 1);
  const double falls = half * here.value / s - here.slope, falls_at_end = half * end.value - end.slope;
  const double first = power * bessel_series(half, qs) / bessel_series(half, q);
  const double first_slope = power * s * bessel_series(half + 2, qs) / bessel_series(half + 2, q);
  return {(here.value - end.value * first) / (1 - power), (falls - falls_at_end * first_slope) / (1 - power)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
