// Grid spectral mixture product kernels. README (11), (12).
#pragma once
#include "kron/mixture/formula.hpp"
#include "kron/mixture/toeplitz.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

class ProductKernel {
 public:
  static constexpr bool kHasSlopes = false;

  template <class T>
  explicit ProductKernel(const Product<T>& p)
      : A_(p.A), P_(p.pairs.P), one_decay_(!p.of_deviations[0]), weights_(A_), means_(A_ * P_), deviations_(A_ * P_), rates_(A_ * P_) {
    for (int64_t a = 0; a < A_; ++a) {
      weights_[a] = double(p.weights[a]);
      for (int64_t k = 0; k < P_; ++k) {
        const double s = deviations_[a * P_ + k] = double(p.deviations[a * p.of_deviations[0] + k * p.of_deviations[1]]);
        means_[a * P_ + k] = double(p.means[a * p.of_means[0] + k * p.of_means[1]]);
        rates_[a * P_ + k] = kRootTwoPi * s;
      }
    }
  }
  // Workspace after the sums of weights, means and deviations: cosines and sines of one component, and products of earlier cosines.
  int64_t sums() const { return A_ * (1 + 2 * P_); }
  int64_t workspace_size() const { return sums() + 3 * P_; }
  double ns() const { return (1 + double(A_) * (kWaveNs * double(P_) + (one_decay_ ? 0 : kDecayNs))) / W; }
  double adjoint_ns() const { return 2 * ns(); }
  bool odd() const { return false; }

  template <class Difference>
  QF_HD V value(const Difference& difference) const {
    V k{}, decay = one_decay_ && A_ ? decayed(0, difference) : V{};
    for (int64_t a = 0; a < A_; ++a) {
      V product = one_decay_ ? broadcast<V>(weights_[a]) : decayed(a, difference) * weights_[a];
      for (int64_t p = 0; p < P_; ++p) product *= wave(broadcast<V>(means_[a * P_ + p]), difference(p)).cosine;
      k += product;
    }
    return one_decay_ ? V(k * decay) : k;
  }
  // (12), without factors that are common to all pairs.
  template <class Difference, class Slope>
  QF_HD void adjoint(const Difference& difference, V grad, V* sums, const Slope&) const {
    V *const of_means = sums + A_, *const of_deviations = of_means + A_ * P_;
    V *const cosines = of_deviations + A_ * P_, *const sines = cosines + P_, *const before = sines + P_;
    const V decay = one_decay_ && A_ ? decayed(0, difference) : V{};
    for (int64_t a = 0; a < A_; ++a) {
      const V g = grad * (one_decay_ ? decay : decayed(a, difference));
      V product = g;
      for (int64_t p = 0; p < P_; ++p) {
        const Wave<V> w = wave(broadcast<V>(means_[a * P_ + p]), difference(p));
        before[p] = product, cosines[p] = w.cosine, sines[p] = w.sine;
        product *= w.cosine;
      }
      sums[a] += product;
      V after = broadcast<V>(1.0);
      for (int64_t p = P_ - 1; p >= 0; --p) {
        const V t = difference(p);
        of_means[a * P_ + p] += t * sines[p] * before[p] * after;
        of_deviations[a * P_ + p] += t * deviations_[a * P_ + p] * t * product;  // t^2 may exceed the range of float64
        after *= cosines[p];
      }
    }
  }

  // Computes the gradients from the sums.
  template <class T>
  void put(const ProductAdjoint<T>& q, const double* sums) const {
    const Product<T>& p = q.forward;
    const double *const of_means = sums + A_, *const of_deviations = of_means + A_ * P_;
    const Scratch<double> means(q.means), deviations(q.deviations);
    set_zero<double>(means, q.means), set_zero<double>(deviations, q.deviations);
    for (int64_t a = 0; a < A_; ++a) {
      q.dweights[a] = T(sums[a]);
      for (int64_t k = 0; k < P_; ++k) {
        means[a * p.of_means[0] + k * p.of_means[1]] -= weights_[a] * kTwoPi * of_means[a * P_ + k];
        deviations[a * p.of_deviations[0] + k * p.of_deviations[1]] -= weights_[a] * kTwoPi * kTwoPi * of_deviations[a * P_ + k];
      }
    }
    for (int64_t i = 0; i < q.means; ++i) q.dmeans[i] = T(means[i]);
    for (int64_t i = 0; i < q.deviations; ++i) q.ddeviations[i] = T(deviations[i]);
  }

 private:
  static constexpr double kRootTwoPi = 4.44288293815836624702;  // sqrt(2) pi
  static constexpr double kWaveNs = 12, kDecayNs = 10;          // per vector; estimated

  template <class Difference>
  QF_HD V decayed(int64_t a, const Difference& difference) const {
    V exponent{};
    for (int64_t p = 0; p < P_; ++p) {
      const V u = difference(p) * rates_[a * P_ + p];
      exponent = multiply_add(u, u, exponent);
    }
    return elementary::exp(V(-limited(exponent)));
  }

  int64_t A_, P_;
  bool one_decay_;  // all components have the same deviations
  Scratch<double> weights_, means_, deviations_, rates_;
};

template <class T>
void product(const Product<T>& p) {
  values(p.pairs, ProductKernel(p));
}
template <class T>
void product_adjoint(const ProductAdjoint<T>& q) {
  const ProductKernel kernel(q.forward);
  adjoint(q.forward.pairs, PairsAdjoint<T>{q.grad, nullptr, nullptr}, kernel, [&](const double* sums) { kernel.put(q, sums); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
