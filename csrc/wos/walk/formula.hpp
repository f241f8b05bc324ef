// The maths of Walk on Spheres. Equation numbers: README.md beside this file. No libm: what a lane computes depends on that lane alone.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/lanes/lanes.hpp"
#include "core/lanes/philox.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Counter word 0: stream (4 bits), trial (8), block (20).
constexpr uint32_t kSourceStream = 1u << 28, kRouletteStream = 3u << 28, kFirstStream = 4u << 28;
constexpr uint32_t kSourceDirectionStream = 2u << 28;  // in more than three dimensions
constexpr uint32_t kTrial = 1u << 20;
constexpr uint32_t kCutOff = 1u << 31, kEscaped = 1u << 30;  // marks of a walk, beside its steps
constexpr double kShrunk = 0.99;                             // of a pair's first ball, so that both its points stay inside: README (13)
constexpr double kMostScreened = 2;     // R sqrt(screening) of a ball; where it would be more, the ball is smaller: README (9)
constexpr double kLightWeight = 0.125;  // of a walk: below it a walk may end, README (14)

// The first ball of a walk of a pair (13): with u, what the walk finds from its sphere on, and s, f at its source point times |G|,
//   value = along u + source s,   gradient = outward u + toward s,   scaled.
template <class V, int D>
struct First {
  V along, source, outward[D], toward[D];
};

// The random words of W walks of T.
template <class V>
using Words = Lanes<uint32_t, kWidth<V>>;

template <class V>
QF_HD V real(Lanes<std::int32_t, kWidth<V>> i) {
  return converted<Element<V>>(i);
}

// (0, 1): every word has a number of its own in float64, every 256 words in float32. Never 0, never 1.
template <class V>
QF_HD V uniform(Words<V> word) {
  using S = Lanes<std::int32_t, kWidth<V>>;
  if constexpr (sizeof(Element<V>) == 4)
    return real<V>((S)(word >> 8)) * 0x1p-24f + 0x1p-25f;
  else
    return real<V>((S)(word ^ 0x80000000u)) * 0x1p-32 + (0.5 + 0x1p-33);
}

// sin and cos of word / 2^32 turns. The nearest quarter turn is split off exactly; polynomials on an eighth of a turn either side (Cephes).
template <class V>
QF_HD void sincos_turn(Words<V> word, V& sine, V& cosine) {
  using T = Element<V>;
  using S = Lanes<std::int32_t, kWidth<V>>;
  using I = Bits<V>;
  const Words<V> quarter = (word + 0x20000000u) >> 30;
  const V x = real<V>((S)(word - (quarter << 30))) * T(0x1p-30 * 1.57079632679489661923);
  const V z = x * x;
  V s, c;
  if constexpr (sizeof(T) == 4) {
    s = ((z * -1.9515295891e-4f + 8.3321608736e-3f) * z - 1.6666654611e-1f) * (z * x) + x;
    c = (((z * 2.443315711809948e-5f - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z - 0.5f) * z + 1.0f;
  } else {
    s = (((((z * 1.58962301576546568060e-10 - 2.50507477628578072866e-8) * z + 2.75573136213857245213e-6) * z - 1.98412698295895385996e-4) *
              z +
          8.33333333332211858878e-3) *
             z -
         1.66666666666666307295e-1) *
            (z * x) +
        x;
    c = ((((((z * -1.13585365213876817300e-11 + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7) * z +
            2.48015872888517045348e-5) *
               z -
           1.38888888888730564116e-3) *
              z +
          4.16666666666665929218e-2) *
             z -
         0.5) *
            z +
        1.0;
  }
  const I turn = converted<Element<I>>((S)quarter);
  const V swapped_s = (turn & 1) != 0 ? c : s, swapped_c = (turn & 1) != 0 ? s : c;
  sine = (turn & 2) != 0 ? -swapped_s : swapped_s;
  cosine = ((turn + 1) & 2) != 0 ? -swapped_c : swapped_c;
}

// (3) The part of |G| that does not depend on R^2: the disc's R^2/4, the ball's R^2/6.
QF_HD constexpr double green_mass(int dimension) { return 1.0 / (2 * dimension); }

// (4a) Radius of the source point in a disc of radius 1: density 4 r ln(1/r).
template <class V>
QF_HD V source_radius_disc(V u1, V u2) {
  return square_root(u1 * u2);
}

// (4b) In a ball of radius 1: density 6 r (1 - r), the median of three uniforms.
template <class V>
QF_HD V source_radius_ball(V u1, V u2, V u3) {
  const V low = lower(u1, u2), high = higher(u1, u2);
  return higher(low, lower(high, u3));
}

// A uniform direction.
template <class V>
QF_HD void direction(Words<V> word, Words<V>, V (&n)[2]) {
  sincos_turn<V>(word, n[1], n[0]);
}
template <class V>
QF_HD void direction(Words<V> word, Words<V> height, V (&n)[3]) {
  const V z = uniform<V>(height) * Element<V>(2) - Element<V>(1);
  const V rho = square_root(higher(Element<V>(1) - z * z, V{}));
  V s, c;
  sincos_turn<V>(word, s, c);
  n[0] = rho * c, n[1] = rho * s, n[2] = z;
}

// (9) sum_k q^k / (k! (nu + 1) ... (nu + k)), nu = half / 2, for 0 <= q <= 1.
template <int half, class V>
QF_HD V bessel_series(V q) {
  using T = Element<V>;
  constexpr int terms = sizeof(T) == 4 ? 7 : 12;
  V sum = broadcast<V>(T(1));
  for (int k = terms; k >= 1; --k) sum = sum * (q * T(1 / (k * (0.5 * half + k)))) + T(1);
  return sum;
}

// (11), (15) sum_k (H_k + H_(k + shift)) q^k / (k! (k + shift)!) / 2, H the harmonic numbers; shift 0 or 1.
template <int shift, class V>
QF_HD V harmonic_series(V q) {
  using T = Element<V>;
  constexpr int terms = sizeof(T) == 4 ? 7 : 12;
  V sum{}, power = broadcast<V>(T(1));
  double h = 0, coefficient = 1;
  for (int k = 0; k <= terms; ++k) {
    if (k > 0) h += 1.0 / k, coefficient /= double(k) * (k + shift), power = power * q;
    sum += power * T(coefficient * (h + (shift ? 0.5 / (k + 1) : 0.0)));
  }
  return sum;
}

// How a source point at r = s R weighs against G / |G| of the Laplace equation: README (10) to (15).
template <class V>
struct SourceWeight {
  V value;     // G_screened(r) / G(r)
  V gradient;  // R |grad G_screened| / G(r), along the direction of the source point
};

// In a disc; L = -ln s, z = R sqrt(screening) <= 2.
template <class V>
QF_HD SourceWeight<V> source_weight_disc(V s, V L, V z2) {
  using T = Element<V>;
  const V q = z2 * T(0.25), qs = q * s * s;
  const V i0 = bessel_series<0>(qs), i1 = bessel_series<2>(qs), i1_end = bessel_series<2>(q);
  const V a = harmonic_series<0>(qs) / i0 - harmonic_series<0>(q) / bessel_series<0>(q);
  const V b = harmonic_series<1>(qs) / i1 - harmonic_series<1>(q) / i1_end;
  const V one = broadcast<V>(T(1));
  const V slope = one / s - s * i1 / i1_end - z2 * s * T(0.5) * i1 * (L + b);
  return {i0 * (one + a / L), slope / L};
}

// In a ball.
template <class V>
QF_HD SourceWeight<V> source_weight_ball(V s, V z2) {
  using T = Element<V>;
  const V q = z2 * T(0.25), qs = q * s * s;
  const V one = broadcast<V>(T(1)), rest = one - s;
  const V odd = bessel_series<-1>(qs) - z2 * s * s * bessel_series<1>(qs), odd_end = bessel_series<-1>(q) - z2 * bessel_series<1>(q);
  const V slope = odd / (s * s) - s * odd_end * bessel_series<3>(qs) / bessel_series<3>(q);
  return {bessel_series<1>(q * rest * rest) / bessel_series<1>(q), slope * s / rest};
}

// ------------------------------------------------------------ more than three dimensions

constexpr int kRadialTerms = 14;  // of series in z^2 / 4 <= 1

// A function of the radius s and its slope.
struct Radial {
  double value, slope;
};

// (9) for any order nu = half / 2.
QF_BOTH double bessel_series(double half, double q) {
  double sum = 1;
  QF_ROLLED
  for (int k = kRadialTerms; k >= 1; --k) sum = sum * q / (k * (0.5 * half + k)) + 1;
  return sum;
}
// (22) s^(D - 2) times the solution that is s^(2 - D) (1 + ...) at 0: in odd dimensions Psi of the order -nu, else with a logarithm.
QF_BOTH Radial singular_radial(int64_t D, double q, double s) {
  const double t = q * s * s, slope_of_t = 2 * q * s;
  if (D % 2) {
    const double half = double(2 - D);
    double sum = 0, slope = 0, term = 1;
    QF_ROLLED
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
  QF_ROLLED
  for (int64_t k = 0; k < n; ++k) {
    sum += term;
    if (k + 1 == n) break;
    const double next = -term / (double(n - 1 - k) * double(k + 1));
    slope += double(k + 1) * next;
    term = next * t;
  }
  double power = n % 2 ? 2 : -2, harmonic = 0;  // t^(n - 1) times 2 (-1)^(n + 1) / ((n - 1)! n!)
  QF_ROLLED
  for (int64_t k = 1; k <= n; ++k) power /= double(k), harmonic += 1.0 / double(k);
  QF_ROLLED
  for (int64_t k = 1; k < n; ++k) power *= t / double(k);
  const double logarithm = elementary::log(s);
  double shared = harmonic;  // H_k + H_(n + k)
  QF_ROLLED
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
QF_BOTH SourceWeight<double> source_weight_wide(int64_t D, double s, double z2) {
  const double q = 0.25 * z2, qs = q * s * s, half = double(D - 2);
  double power = 1;  // s^(D - 2)
  for (int64_t k = 2; k < D; ++k) power *= s;
  const Radial here = singular_radial(D, q, s), end = singular_radial(D, q, 1);
  const double falls = half * here.value / s - here.slope, falls_at_end = half * end.value - end.slope;
  const double first = power * bessel_series(half, qs) / bessel_series(half, q);
  const double first_slope = power * s * bessel_series(half + 2, qs) / bessel_series(half + 2, q);
  return {(here.value - end.value * first) / (1 - power), (falls - falls_at_end * first_slope) / (1 - power)};
}

// ------------------------------------------------------------ sums

// (6) The merge of two nodes of n walks each, as python/quatrefoil/wos/walk/nodes.py writes it: every product that could be fused is exact.
template <class V>
QF_HD void merge_equal(double n, V& mean, V& m2, V mean_b, V m2_b) {
  const V delta = mean_b - mean;
  mean = mean + delta * 0.5;
  m2 = (m2 + m2_b) + (delta * delta) * (n * 0.5);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
