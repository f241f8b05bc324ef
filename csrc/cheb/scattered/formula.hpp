// The maths of Chebyshev-Tucker tensors. Equation numbers: README.md beside this file.
#pragma once
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// An interval [lo, hi] as its map to [-1, 1] needs it.
struct Interval {
  double sum, sum_error;  // lo + hi without rounding
  double width;
  double slack;  // on [-1, 1]: so far outside is rounding of the caller's coordinates
};

constexpr double kSlackEps = 48;  // in units of eps: 1e-14 for float64 on [-1, 1]

QF_HD Interval interval(double lo, double hi, double eps) {
  Interval i;
  i.sum = lo + hi;
  const double part = i.sum - lo;
  i.sum_error = (lo - (i.sum - part)) + (hi - part);  // Knuth's two-sum
  i.width = hi - lo;
  const double a = lo < 0 ? -lo : lo, b = hi < 0 ? -hi : hi;
  i.slack = kSlackEps * eps * (a > b ? a : b) / (i.width / 2);  // max(|lo|, |hi|) is at least half the width
  return i;
}

// (1) t = (2x - lo - hi) / (hi - lo)
template <class V>
QF_HD V to_reference(V x, const Interval& i) {
  return ((x + x - i.sum) - i.sum_error) / i.width;
}

// (3) T_k(|t|) by differences: u = 2(|t| - 1) keeps the distance to the end of the interval, on which T_k depends k^2 times as much
// as on t elsewhere. The three-term recurrence in t loses those digits.
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

// (5) Chebyshev coefficients of a column's derivative on [-1, 1]: d_{k-1} = d_{k+1} + 2k c_k downwards, d_0 halved. stride: between rows.
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

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
