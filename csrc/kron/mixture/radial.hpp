// Functions of the scaled distance: squared exponential and Matern 5/2. README (1)-(3).
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
  explicit RadialKernel(const Radial<T>& p) : P_(p.pairs.P), inverse_(P_) {
    for (int64_t k = 0; k < P_; ++k) inverse_[k] = 1 / double(p.scale[p.one_scale ? 0 : k]);
  }
  int64_t sums() const { return P_; }
  int64_t room() const { return P_; }
  double ns() const { return (kOneNs + double(P_)) / W; }
  double adjoint_ns() const { return (kOneNs + 4 * double(P_)) / W; }
  bool odd() const { return false; }
  double inverse(int64_t p) const { return inverse_[p]; }

  template <class Difference>
  QF_HD V value(const Difference& difference) const {
    return at(difference).value;
  }
  // (3): sums[p] of slope u_p^2, u_p = d_p / scale_p
  template <class Difference, class Slope>
  QF_HD void adjoint(const Difference& difference, V grad, V* sums, const Slope& slope) const {
    const V twice = at(difference).slope * 2.0;
    for (int64_t p = 0; p < P_; ++p) {
      const V u = difference(p) * inverse_[p];
      sums[p] += grad * twice * u * u;
      slope(p, V(twice * u * inverse_[p]));
    }
  }

 private:
  static constexpr double kOneNs = 12;  // a vector's exponential and what belongs to it; estimated

  template <class Difference>
  QF_HD OfSquare<V> at(const Difference& difference) const {
    V square{};
    for (int64_t p = 0; p < P_; ++p) {
      const V u = difference(p) * inverse_[p];
      square = multiply_add(u, u, square);
    }
    return shape == Shape::squared_exponential ? squared_exponential(square) : matern52(square);
  }

  int64_t P_;
  Scratch<double> inverse_;
};

template <class T, class F>
void with_kernel(const Radial<T>& p, F&& f) {
  if (p.shape == Shape::squared_exponential)
    f(RadialKernel<Shape::squared_exponential>(p));
  else
    f(RadialKernel<Shape::matern52>(p));
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
      double all = 0;
      for (int64_t k = 0; k < p.pairs.P; ++k) {
        const double dscale = -sums[k] * kernel.inverse(k);
        all += dscale;
        if (!p.one_scale) q.dscale[k] = T(dscale);
      }
      if (p.one_scale) q.dscale[0] = T(all);
    });
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
