// The formulas of Chebyshev-Tucker tensors. Equation numbers: README.md.
#pragma once
#include <type_traits>

#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// The map of an interval [lo, hi] to [-1, 1].
struct Interval {
  double sum, sum_error;  // lo + hi without rounding
  double width;
  double far;  // larger |t| raise an error; a smaller excess is rounding of the caller's coordinates
  double end;  // |t| is clamped to this
};

constexpr double kSlackEps = 48;                      // in units of eps: 1e-14 for float64 on [-1, 1]
constexpr double kAnywhere = 1.7976931348623157e308;  // the largest finite number

QF_HD Interval interval(double lo, double hi, double eps, bool extrapolate) {
  Interval i;
  i.sum = lo + hi;
  const double part = i.sum - lo;
  i.sum_error = (lo - (i.sum - part)) + (hi - part);  // Knuth's two-sum
  i.width = hi - lo;
  const double a = lo < 0 ? -lo : lo, b = hi < 0 ? -hi : hi;
  const double slack = kSlackEps * eps * (a > b ? a : b) / (i.width / 2);  // max(|lo|, |hi|) is at least half the width
  i.far = extrapolate ? kAnywhere : 1 + slack;
  i.end = extrapolate ? kAnywhere : 1;
  return i;
}

// (1) t = (2x - lo - hi) / (hi - lo)
template <class V>
QF_HD V to_reference(V x, const Interval& i) {
  return ((x + x - i.sum) - i.sum_error) / i.width;
}

// (3) T_k(|t|) by differences: u = 2(|t| - 1) keeps the digits of the distance to the end of the interval, which the three-term recurrence
// in t loses.
template <class V>
struct Polynomial {
  V u;
  V value;  // T_k(|t|), k = 0 first
  V step;   // T_{k+1}(|t|) - T_k(|t|)

  QF_HD static Polynomial first(V u) { return {u, V{} + 1, u / 2}; }
  QF_HD void advance() {
    value += step;
    step += u * value;
  }
};

// (9) The same for U_k = T_{k+1}' / (k + 1), and for U_k and U_k'.
template <class V>
struct SecondKind : Polynomial<V> {
  QF_HD static SecondKind first(V u) { return {{u, V{} + 1, u + 1}}; }
};
template <class V>
struct SecondKindSlope {
  V u, under, under_step;  // U_k and its difference
  V value, step;           // U_k' and its difference

  QF_HD static SecondKindSlope first(V u) { return {u, V{} + 1, u + 1, V{}, V{} + 2}; }
  QF_HD void advance() {
    under += under_step;
    under_step += u * under;
    value += step;
    step += u * value + 2 * under;
  }
};

// The polynomials of a factor function, or of a derivative of it.
template <class V, int derivative>
using PolynomialOf = typename std::conditional<derivative == 0, Polynomial<V>,
                                               typename std::conditional<derivative == 1, SecondKind<V>, SecondKindSlope<V>>::type>::type;

// (9) The indices of f and its derivatives among the results of a point, axes i <= j.
QF_HD int gradient_at(int i) { return 1 + i; }
QF_HD int hessian_at(int d, int i, int j) { return 1 + d + i * d - i * (i - 1) / 2 + (j - i); }
QF_HD int results_of(int d, int order) { return order == 1 ? 1 + d : 1 + d + d * (d + 1) / 2; }

// (9) Calls add(result, i, j, s) for f and its derivatives, with the leading axes i and j differentiated (-1 means no axis). sum(0), ...,
// sum(5) are the sums over the last two axes, differentiated (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2) times.
template <int order, class Sum, class Add>
QF_HD void each_derivative(int d, int leading, Sum&& sum, Add&& add) {
  const int row = d - 2, last = d - 1;
  add(0, -1, -1, sum(0));
  if (d > 1) add(gradient_at(row), -1, -1, sum(1));
  add(gradient_at(last), -1, -1, sum(2));
  for (int k = 0; k < leading; ++k) add(gradient_at(k), k, -1, sum(0));
  if constexpr (order == 2) {
    if (d > 1) add(hessian_at(d, row, row), -1, -1, sum(3)), add(hessian_at(d, row, last), -1, -1, sum(4));
    add(hessian_at(d, last, last), -1, -1, sum(5));
    for (int k = 0; k < leading; ++k) {
      add(hessian_at(d, k, row), k, -1, sum(1)), add(hessian_at(d, k, last), k, -1, sum(2));
      for (int j = k; j < leading; ++j) add(hessian_at(d, k, j), k, j, sum(0));
    }
  }
}

// (5) Chebyshev coefficients of a column's derivative on [-1, 1]: d_{k-1} = d_{k+1} + 2k c_k downwards, d_0 halved.
template <class T>
QF_HD void differentiate(const T* c, int64_t n, int64_t stride, T* d, int64_t stride_d) {
  double after = 0, at = 0;  // d_{k+1}, d_k
  for (int64_t k = n - 1; k >= 0; --k) {
    d[k * stride_d] = T(k ? at : at / 2);
    const double before = after + 2 * double(k) * double(c[k * stride]);
    after = at;
    at = before;
  }
}

// Its transpose: c_k += 2k sum of d_j over j = k-1, k-3, ..., d_0 halved.
template <class T>
QF_HD void add_differentiate_adjoint(const T* d, int64_t n, int64_t stride, T* c) {
  double before = 0, at = 0;  // the sums for k - 1 and for k
  QF_ROLLED
  for (int64_t k = 0; k < n; ++k) {
    c[k * stride] += T(2 * double(k) * at);
    const double next = before + (k ? 1.0 : 0.5) * double(d[k * stride]);
    before = at;
    at = next;
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
