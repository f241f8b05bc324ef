// The adjoint of values, gradients and Hessians: that of values, once for each derivative.
#pragma once
#include "cheb/scattered/adjoint.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

constexpr double kAddNs = 1;  // of one number in an array

// What each derivative's adjoint is made in: factors, their gradients, that of core, of X, and the weights of the points.
template <class T>
class Terms {
 public:
  explicit Terms(const TuckerDerivativesAdjoint<T>& q)
      : q_(q), p_(q.value.forward), core_(core_size(p_)), own_(2 * factor_size(p_) + core_ + p_.P * (p_.d + 1)) {}

  // README (10): adds what the derivative along axis i, and along j if that is none of -1, adds.
  int64_t add(int i, int j) {
    const int d = p_.d;
    TuckerEvalAdjoint<T> term{};
    term.forward = p_;
    T *at = own_, *weight = at + 2 * factor_size(p_) + core_ + p_.P * d;
    if (!weigh(i, j, weight)) return -1;
    term.grad = weight;
    for (int k = 0; k < d; ++k) {
      const int64_t size = p_.n[k] * p_.r[k];
      if (k == i || k == j) {
        differentiate_columns(p_.factors[k], k, at);
        if (i == j) differentiate_columns(at, k, at + size), copy(at + size, size, at);
        term.forward.factors[k] = at;
      }
      term.dfactors[k] = at + size;
      at += 2 * size;
    }
    term.dcore = at, term.dX = at + core_;
    const int64_t bad = tucker_eval_adjoint(term);
    if (bad >= 0) return bad;
    add_all(term.dcore, core_, q_.value.dcore), add_all(term.dX, p_.P * d, q_.value.dX);
    for (int k = 0; k < d; ++k) add_factor(term, k, (k == i) + (k == j));
    return -1;
  }

 private:
  static int64_t core_size(const TuckerEval<T>& p) {
    int64_t size = 1;
    for (int k = 0; k < p.d; ++k) size *= p.r[k];
    return size;
  }
  static int64_t factor_size(const TuckerEval<T>& p) {
    int64_t size = 0;
    for (int k = 0; k < p.d; ++k) size += p.n[k] * p.r[k];
    return size;
  }
  static void copy(const T* from, int64_t n, T* to) { __builtin_memcpy(to, from, std::size_t(n) * sizeof(T)); }
  static void add_all(const T* from, int64_t n, T* to) {
    in_parts(0, n, kAddNs, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) to[m] += from[m];
    });
  }

  // The gradient of every point's derivative along axes i and j of [-1, 1]^d; whether any is not 0.
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
  // The gradient of a factor that was differentiated so often.
  void add_factor(const TuckerEvalAdjoint<T>& term, int k, int times) {
    const int64_t n = p_.n[k], r = p_.r[k];
    T *from = term.dfactors[k], *other = from - n * r;  // the differentiated factor, which is no longer needed
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
  int64_t core_;
  Scratch<T> own_;
};

// README (10). One pass of the values' adjoint for each derivative whose gradient is not 0; a term's arrays lie beside the results.
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
