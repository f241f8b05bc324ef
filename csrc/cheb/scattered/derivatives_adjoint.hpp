// The adjoint of values, gradients and Hessians: one adjoint of values per derivative.
#pragma once
#include "cheb/scattered/adjoint.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

constexpr double kAddNs = 1;  // per element

// The buffers of each derivative's adjoint: factors; gradients of factors, core and X; and the weights of the points.
template <class T>
class Terms {
 public:
  explicit Terms(const TuckerDerivativesAdjoint<T>& q)
      : q_(q), p_(q.value.forward), size_(p_), buffer_(2 * size_.factors + size_.core + p_.P * (p_.d + 1)) {}

  // README (10): adds the term of the derivative along axis i, and along j unless it is -1.
  int64_t add(int i, int j) {
    const int d = p_.d;
    TuckerEvalAdjoint<T> term{};
    term.forward = p_;
    T *at = buffer_, *weight = at + 2 * size_.factors + size_.core + p_.P * d;
    if (!weigh(i, j, weight)) return -1;
    term.grad = weight;
    for (int k = 0; k < d; ++k) {
      const int64_t size = p_.n[k] * p_.r[k];
      if (k == i || k == j) {
        differentiate_columns(p_.factors[k], k, at);
        if (i == j) differentiate_columns(at, k, at + size), __builtin_memcpy(at, at + size, std::size_t(size) * sizeof(T));
        term.forward.factors[k] = at;
      }
      term.dfactors[k] = at + size;
      at += 2 * size;
    }
    term.dcore = at, term.dX = at + size_.core;
    const int64_t bad = tucker_eval_adjoint(term);
    if (bad >= 0) return bad;
    add_all(term.dcore, size_.core, q_.value.dcore), add_all(term.dX, p_.P * d, q_.value.dX);
    for (int k = 0; k < d; ++k) add_factor(term, k, (k == i) + (k == j));
    return -1;
  }

 private:
  struct Sizes {
    int64_t core = 1, factors = 0;
    explicit Sizes(const TuckerEval<T>& p) {
      for (int k = 0; k < p.d; ++k) core *= p.r[k], factors += p.n[k] * p.r[k];
    }
  };

  static void add_all(const T* from, int64_t n, T* to) {
    in_parts(0, n, kAddNs, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) to[m] += from[m];
    });
  }

  // Writes the incoming gradient of each point's derivative along axes i and j of [-1, 1]^d. Returns whether any is not 0.
  bool weigh(int i, int j, T* weight) const {
    const int d = p_.d;
    const auto slope = [&](int k) { return T(k < 0 ? 1 : 2 / (p_.hi[k] - p_.lo[k])); };
    const T factor = slope(i) * slope(j);
    bool any = false;
    in_parts(0, p_.P, kAddNs, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        T x = j < 0 ? q_.grad_gradient[m * d + i] : q_.grad_hessian[(m * d + i) * d + j];
        if (j >= 0 && i != j) x += q_.grad_hessian[(m * d + j) * d + i];
        weight[m] = x * factor;
        any = any || !(x == 0);
      }
    });
    return any;
  }
  void differentiate_columns(const T* U, int k, T* to) const {
    InterruptCheck check;
    for (int64_t c = 0; c < p_.r[k]; ++c, check(2 * double(p_.n[k]))) differentiate(U + c, p_.n[k], p_.r[k], to + c, p_.r[k]);
  }
  // Adds the gradient of a factor that was differentiated `times` times.
  void add_factor(const TuckerEvalAdjoint<T>& term, int k, int times) {
    const int64_t n = p_.n[k], r = p_.r[k];
    T *from = term.dfactors[k], *other = from - n * r;  // `other` overwrites the differentiated factor
    if (times == 2) {
      set_zero(other, n * r);
      for (int64_t c = 0; c < r; ++c) add_differentiate_adjoint(from + c, n, r, other + c);
      from = other;
    }
    T* const to = q_.value.dfactors[k];
    if (times == 0) return add_all(from, n * r, to);
    for (int64_t c = 0; c < r; ++c) add_differentiate_adjoint(from + c, n, r, to + c);
  }

  const TuckerDerivativesAdjoint<T>& q_;
  const TuckerEval<T>& p_;
  Sizes size_;
  Scratch<T> buffer_;
};

// README (10): runs the adjoint of values once per derivative whose incoming gradient is not 0.
template <class T>
int64_t tucker_derivatives_adjoint(const TuckerDerivativesAdjoint<T>& q) {
  if (!q.grad_gradient && !q.grad_hessian) return tucker_eval_adjoint(q.value);
  const TuckerEval<T>& p = q.value.forward;
  int64_t bad = tucker_eval_adjoint(q.value);
  if (bad >= 0) return bad;
  Terms<T> terms(q);
  for (int i = 0; i < p.d && bad < 0; ++i) {
    if (q.grad_gradient) bad = terms.add(i, -1);
    for (int j = i; q.grad_hessian && j < p.d && bad < 0; ++j) bad = terms.add(i, j);
  }
  return bad;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
