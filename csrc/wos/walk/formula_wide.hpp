// A walk in a ball or box of more than three dimensions, in double precision. README, More dimensions.
#pragma once
#include "wos/solid/formula_exact.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int kRadialTerms = 14;  // terms of the series in z^2 / 4 <= 1

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
// (22) s^(D - 2) times the solution that behaves like s^(2 - D) at 0: Psi of order -nu in odd dimensions; has a logarithm in even ones.
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

// (21) The weight of a source point at r = s R, relative to G / |G| of Laplace's equation.
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

constexpr int kWideColumns = 5;  // vectors of D elements: position, direction, source direction, and both directions of the first ball

// The first ball of a walk of a pair, without its directions.
struct WideFirst {
  double along, source, outward, toward;
};

// A point where a walk evaluates the data: a source point, or its end with its mark.
template <class Vector>
struct WideMet {
  Vector x;
  double weight;
  bool ends, in_first;
  uint32_t mark;
};

// Vector: double*, or a column of a table. Reports the first ball, the source points and the end to a sink.
template <class Vector>
class WideWalker {
 public:
  // workspace: kWideColumns D elements; half: half sizes of a box, or null for the unit ball.
  QF_KERNEL WideWalker(int64_t D, const Vector& workspace, const double* half, int64_t max_steps, bool pairs)
      : D(D),
        x(workspace),
        first_n(workspace + 3 * D),
        first_m(workspace + 4 * D),
        half_(half),
        max_steps_(max_steps),
        pairs_(pairs),
        n_(workspace + D),
        m_(workspace + 2 * D) {}
  QF_KERNEL bool busy() const { return busy_; }

  // Starts a walk, or stays idle if the start is NaN. frame: the box's centre and extent, epsilon.
  template <class T>
  QF_KERNEL void begin(const T* start, const double* frame, double screening, const Random<uint32_t>& random) {
    for (int64_t j = 0; j < D; ++j) x[j] = double(start[j]);
    busy_ = start[0] == start[0];
    epsilon_ = frame[D + 1], screening_ = screening * frame[D] * frame[D];
    step_ = 0, weight_ = 1, random_ = random;
  }
  // Makes one step. Calls the sink in one place.
  template <class Sink>
  QF_KERNEL void advance(Sink& sink) {
    const double distance = distance_here();
    WideMet<Vector> met{x, weight_, distance <= epsilon_ || step_ >= max_steps_ || weight_ == 0, false, step_};
    if (met.ends)
      finish(distance, met);
    else
      move(distance, sink, met);
    if (met.ends || sink.wants_sources) sink.meet(met);
  }

  const int64_t D;
  const Vector x, first_n, first_m;

 private:
  template <class Sink>
  QF_KERNEL void move(double radius, Sink& sink, WideMet<Vector>& met) {
    if (screening_ > 0) radius = min(radius, kMaxScreening / square_root(screening_));
    met.in_first = pairs_ && step_ == 0;
    Random<uint32_t> random = random_;
    double sign = 1;
    if (met.in_first) random.walk /= 2, sign = random_.walk % 2 ? -1 : 1, radius *= kShrunk;
    const Vector n = met.in_first ? first_n : n_, m = met.in_first ? first_m : m_;
    QF_ROLLED
    for (int of_source = 0; of_source <= int(sink.wants_sources); ++of_source)
      unit_vector(random, of_source ? kSourceDirectionStream + step_ : met.in_first ? kFirstStream : step_, sign, of_source ? m : n);
    const double z2 = radius * radius * screening_, fall = screening_ > 0 ? bessel_series(double(D - 2), 0.25 * z2) : 1;
    SourceWeight<double> source{1, 0};
    if (sink.wants_sources) {
      const double s = source_radius(random);
      if (met.in_first || screening_ > 0) source = source_weight_wide(D, s, z2);
      for (int64_t j = 0; j < D; ++j) m_[j] = x[j] + radius * s * m[j];
    } else if (met.in_first) {
      for (int64_t j = 0; j < D; ++j) m[j] = 0;
    }
    if (met.in_first)
      sink.enter({1 / fall, source.value, double(D) / (radius * bessel_series(double(D), 0.25 * z2)), source.gradient / radius});
    met.x = m_, met.weight = radius * radius * (met.in_first ? 1 : weight_ * source.value) / double(2 * D);
    for (int64_t j = 0; j < D; ++j) x[j] += radius * n[j];
    if (screening_ > 0 && !met.in_first) survive(fall);
    ++step_;
  }
  QF_KERNEL double distance_here() const {
    double r2 = 0, nearest = 1e300;
    for (int64_t j = 0; !half_ && j < D; ++j) r2 += x[j] * x[j];
    for (int64_t j = 0; half_ && j < D; ++j) nearest = min(nearest, half_[j] - (x[j] < 0 ? -x[j] : x[j]));
    return half_ ? nearest : 1 - square_root(r2);
  }
  // (23) Draws D normal numbers, four per call to Philox, and divides them by their norm.
  QF_KERNEL void unit_vector(const Random<uint32_t>& random, uint32_t counter, double sign, const Vector& n) const {
    double r2 = 0;
    for (int64_t j = 0; j < D; j += 4, counter += kTrial) {
      uint32_t words[4];
      random.words(counter, words);
      for (int k = 0; k < 4; k += 2) {
        const double length = square_root(-2 * elementary::log(uniform<double>(words[k])));
        double sine, cosine;
        sincos_turn<double>(words[k + 1], sine, cosine);
        const double even = length * cosine, odd = length * sine;
        if (j + k < D) n[j + k] = even, r2 += even * even;
        if (j + k + 1 < D) n[j + k + 1] = odd, r2 += odd * odd;
      }
    }
    const double scale = sign / square_root(r2);
    for (int64_t j = 0; j < D; ++j) n[j] *= scale;
  }
  // (4c) The radius of a source point, relative to the ball's.
  QF_KERNEL double source_radius(const Random<uint32_t>& random) const {
    uint32_t words[4];
    random.words(kSourceStream + step_, words);
    return square_root(uniform<double>(words[0])) * elementary::exp(elementary::log(uniform<double>(words[1])) / double(D));
  }
  // (9), (14) Updates the weight after a ball; 0 ends the walk.
  QF_KERNEL void survive(double fall) {
    weight_ /= fall;
    if (weight_ >= kLightWeight) return;
    uint32_t words[4];
    random_.words(kRouletteStream + step_, words);
    weight_ = uniform<double>(words[0]) * kLightWeight < weight_ ? kLightWeight : 0;
  }
  QF_KERNEL void finish(double distance, WideMet<Vector>& met) {
    busy_ = false;
    if (!(weight_ > 0)) return;
    if (!(distance <= epsilon_)) met.mark |= kCutOff;
    half_ ? solid::nearest_on_box(half_, D, x, x) : solid::nearest_on_ball(D, x, x);
  }

  const double* const half_;
  const int64_t max_steps_;
  const bool pairs_;
  const Vector n_, m_;
  double epsilon_ = 0, screening_ = 0, weight_ = 1;
  uint32_t step_ = 0;
  Random<uint32_t> random_{};
  bool busy_ = false;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
