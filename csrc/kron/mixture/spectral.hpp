// Spectral mixtures and their derivatives with respect to the first argument. README (4)-(8).
#pragma once
#include "kron/mixture/formula.hpp"
#include "kron/mixture/toeplitz.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

template <Kind kind, int order>
class SpectralKernel {
 public:
  static constexpr bool kHasSlopes = true;

  template <class T>
  explicit SpectralKernel(const Components<T>& p) : Q_(p.Q), components_(Q_) {
    for (int64_t q = 0; q < Q_; ++q) {
      const double scale = elementary::exp(double(p.log_scales[q]));
      const double weight = elementary::exp(double(p.log_weights[q]));
      components_[q] = {weight, kind == Kind::student_t ? scale * 2.23606797749978969641 : scale, double(p.freqs[q])};
    }
  }
  int64_t sums() const { return 3 * Q_; }
  int64_t workspace_size() const { return 3 * Q_; }
  double ns() const { return (1 + kOneNs * double(Q_)) / W; }
  double adjoint_ns() const { return 2 * ns(); }
  bool odd() const { return order % 2; }
  double weight(int64_t q) const { return components_[q].weight; }

  template <class Difference>
  QF_HD V value(const Difference& difference) const {
    const V d = difference(0);
    V k{};
    for (int64_t q = 0; q < Q_; ++q) {
      const Component& c = components_[q];
      k = multiply_add(broadcast<V>(c.weight), modulated<order>(envelope(c, d).g, wave(broadcast<V>(c.freq), d)), k);
    }
    return k;
  }
  // (8): adds grad times component q, without its weight, to sums[3q], and grad times its derivatives with respect to log_scale and m to
  // the next two entries. The slope is the derivative of the next order.
  template <class Difference, class Slope>
  QF_HD void adjoint(const Difference& difference, V grad, V* sums, const Slope& slope) const {
    const V d = difference(0);
    V next{};
    for (int64_t q = 0; q < Q_; ++q) {
      const Component& c = components_[q];
      const Envelope<V> e = envelope(c, d);
      const Wave<V> w = wave(broadcast<V>(c.freq), d);
      V* const to = sums + 3 * q;
      to[0] = multiply_add(grad, modulated<order>(e.g, w), to[0]);
      to[1] = multiply_add(grad, modulated<order>(e.by_log_scale, w), to[1]);
      to[2] = multiply_add(grad, modulated_by_m<order>(e.g, w, d), to[2]);
      next = multiply_add(broadcast<V>(c.weight), modulated<order + 1>(e.g, w), next);
    }
    slope(0, next);
  }

 private:
  static constexpr double kOneNs = 20;  // an exponential, sine and cosine, per vector; estimated

  struct Component {
    double weight, scale, freq;  // scale: a of (4), p of (5)
  };
  static QF_HD Envelope<V> envelope(const Component& c, V d) {
    return kind == Kind::student_t ? student_t(broadcast<V>(c.scale), d) : gaussian(broadcast<V>(c.scale), d);
  }

  int64_t Q_;
  Scratch<Component> components_;
};

template <Kind kind, class T, class F>
void with_order(const Components<T>& p, F&& f) {
  if (p.order == 0)
    f(SpectralKernel<kind, 0>(p));
  else if (p.order == 1)
    f(SpectralKernel<kind, 1>(p));
  else
    f(SpectralKernel<kind, 2>(p));
}
template <class T, class F>
void with_kernel(const Components<T>& p, F&& f) {
  p.kind == Kind::student_t ? with_order<Kind::student_t>(p, f) : with_order<Kind::gaussian>(p, f);
}

template <class T, class Kernel>
void put_components(const ComponentsAdjoint<T>& to, const Kernel& kernel, int64_t Q, const double* sums) {
  for (int64_t q = 0; q < Q; ++q) {
    const double w = kernel.weight(q);
    to.dlog_weights[q] = T(w * sums[3 * q]);
    to.dlog_scales[q] = T(w * sums[3 * q + 1]);
    to.dfreqs[q] = T(w * kTwoPi * sums[3 * q + 2]);
  }
}

template <class T>
void spectral(const Spectral<T>& p) {
  with_kernel(p.components, [&](const auto& kernel) { values(p.pairs, kernel); });
}
template <class T>
void spectral_adjoint(const SpectralAdjoint<T>& q) {
  const Spectral<T>& p = q.forward;
  with_kernel(p.components, [&](const auto& kernel) {
    adjoint(p.pairs, q.pairs, kernel, [&](const double* sums) { put_components(q.components, kernel, p.components.Q, sums); });
  });
}

template <class T>
void spectral_lags(const SpectralLags<T>& p) {
  with_kernel(p.components, [&](const auto& kernel) { values_at(kernel, p.d, p.N, p.out, p.threads); });
}
template <class T>
void spectral_lags_adjoint(const SpectralLagsAdjoint<T>& q) {
  const SpectralLags<T>& p = q.forward;
  with_kernel(p.components, [&](const auto& kernel) {
    const int64_t parts = parts_at(kernel, p.N);
    const KernelSums<std::decay_t<decltype(kernel)>> sums(kernel, parts);
    const double* const total = adjoint_at(kernel, sums, parts, p.d, q.grad, p.N, p.threads, [&](int64_t j, V derivative, V g) {
      store_first(q.dd + j, converted<T>(V(derivative * g)), p.N - j);
    });
    put_components(q.components, kernel, p.components.Q, total);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
