// Functions of the scaled distance: squared exponential, Matern, periodic, rational quadratic. README (1)-(3), (13).
#pragma once
#include "kron/mixture/formula.hpp"
#include "kron/mixture/toeplitz.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

template <Shape shape>
class RadialKernel {
 public:
  static constexpr bool kHasSlopes = true;

  template <class T>
  explicit RadialKernel(const Radial<T>& p)
      : P_(p.pairs.P), alpha_(kHasAlpha ? double(*p.alpha) : 1), inverse_(P_), freq_(kIsPeriodic ? P_ : 0) {
    for (int64_t k = 0; k < P_; ++k) inverse_[k] = 1 / double(p.scale[p.one_scale ? 0 : k]);
    for (int64_t k = 0; kIsPeriodic && k < P_; ++k) freq_[k] = 1 / double(p.period[p.one_period ? 0 : k]);
  }
  int64_t sums() const { return kIsPeriodic ? 2 * P_ : P_ + kHasAlpha; }
  int64_t workspace_size() const { return sums(); }
  double ns() const { return (kOneNs + double(P_)) / W; }
  double adjoint_ns() const { return (kOneNs + 4 * double(P_)) / W; }
  bool odd() const { return false; }
  double inverse(int64_t p) const { return inverse_[p]; }
  double frequency(int64_t p) const { return freq_[p]; }

  template <class Difference>
  QF_HD V value(const Difference& difference) const {
    return of_square(square(difference)).value;
  }
  // (3): adds 2 slope u_p^2 grad to sums[p], with slope the derivative with respect to r^2. Sums for alpha or the frequencies follow.
  template <class Difference, class Slope>
  QF_HD void adjoint(const Difference& difference, V grad, V* sums, const Slope& slope) const {
    const V s = square(difference), twice = of_square(s).slope * 2.0;
    if constexpr (kHasAlpha) sums[P_] += grad * rational_quadratic(s, alpha_).by_alpha;
    for (int64_t p = 0; p < P_; ++p) {
      const V d = difference(p);
      const Scaled at = scaled(d, p);
      const V by_d = twice * at.u * at.by_d;
      sums[p] += grad * twice * at.u * at.u;
      if constexpr (kIsPeriodic) sums[P_ + p] += grad * by_d * d;
      slope(p, by_d);
    }
  }

 private:
  static constexpr bool kHasAlpha = shape == Shape::rational_quadratic, kIsPeriodic = shape == Shape::periodic;
  static constexpr double kOneNs = 12;  // an exponential and a few operations, per vector; estimated

  struct Scaled {
    V u, by_d;
  };
  QF_HD Scaled scaled(V d, int64_t p) const {
    if constexpr (kIsPeriodic) {  // (13)
      const Wave<V> w = wave(broadcast<V>(0.5 * freq_[p]), d);
      return {w.sine * (2 * inverse_[p]), w.cosine * (kTwoPi * freq_[p] * inverse_[p])};
    }
    return {d * inverse_[p], broadcast<V>(inverse_[p])};
  }
  template <class Difference>
  QF_HD V square(const Difference& difference) const {
    V sum{};
    for (int64_t p = 0; p < P_; ++p) {
      const V u = scaled(difference(p), p).u;
      sum = multiply_add(u, u, sum);
    }
    return sum;
  }
  QF_HD OfSquare<V> of_square(V s) const {
    if constexpr (shape == Shape::squared_exponential || kIsPeriodic)
      return squared_exponential(s);
    else if constexpr (shape == Shape::matern12)
      return matern12(s);
    else if constexpr (shape == Shape::matern32)
      return matern32(s);
    else if constexpr (shape == Shape::matern52)
      return matern52(s);
    else
      return rational_quadratic(s, alpha_).of_square;
  }

  int64_t P_;
  double alpha_;
  Scratch<double> inverse_, freq_;
};

template <class T, class F>
void with_kernel(const Radial<T>& p, F&& f) {
  switch (p.shape) {
    case Shape::squared_exponential: return f(RadialKernel<Shape::squared_exponential>(p));
    case Shape::matern12: return f(RadialKernel<Shape::matern12>(p));
    case Shape::matern32: return f(RadialKernel<Shape::matern32>(p));
    case Shape::matern52: return f(RadialKernel<Shape::matern52>(p));
    case Shape::periodic: return f(RadialKernel<Shape::periodic>(p));
    case Shape::rational_quadratic: return f(RadialKernel<Shape::rational_quadratic>(p));
  }
}

template <class T>
void radial(const Radial<T>& p) {
  with_kernel(p, [&](const auto& kernel) { values(p.pairs, kernel); });
}

template <class T>
void radial_adjoint(const RadialAdjoint<T>& q) {
  const Radial<T>& p = q.forward;
  with_kernel(p, [&](const auto& kernel) {
    adjoint(p.pairs, q.pairs, kernel, [&](const double* sums) {
      const auto put = [&](T* to, bool one, const double* from, auto inverse) {
        double all = 0;
        for (int64_t k = 0; k < p.pairs.P; ++k) {
          const double gradient = -from[k] * inverse(k);
          all += gradient;
          if (!one) to[k] = T(gradient);
        }
        if (one) *to = T(all);
      };
      put(q.dscale, p.one_scale, sums, [&](int64_t k) { return kernel.inverse(k); });
      if (q.dperiod) put(q.dperiod, p.one_period, sums + p.pairs.P, [&](int64_t k) { return kernel.frequency(k); });
      if (q.dalpha) *q.dalpha = T(sums[p.pairs.P]);
    });
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
