// Systems of equations with small dense matrices in double precision, row by row: what the power of a channel's matrix needs.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil::ssm::s4 {
inline namespace QF_ISA {

// right <- (I - a)^-1 right, or with the transpose of a: elimination with row pivoting, on a copy. A singular matrix gives inf or NaN.
inline void solve_less_power(int64_t d, const double* a, bool transposed, double* right) {
  Scratch<double> m(d * d);
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < d; ++j) m[i * d + j] = (i == j ? 1 : 0) - (transposed ? a[j * d + i] : a[i * d + j]);
  for (int64_t k = 0; k < d; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < d; ++i)
      if (__builtin_fabs(m[i * d + k]) > __builtin_fabs(m[pivot * d + k])) pivot = i;
    if (pivot != k) {
      for (int64_t j = k; j < d; ++j) {
        const double kept = m[k * d + j];
        m[k * d + j] = m[pivot * d + j], m[pivot * d + j] = kept;
      }
      const double kept = right[k];
      right[k] = right[pivot], right[pivot] = kept;
    }
    check_interrupt(double((d - k) * (d - k)) * 0.5);
    for (int64_t i = k + 1; i < d; ++i) {
      const double factor = m[i * d + k] / m[k * d + k];
      for (int64_t j = k + 1; j < d; ++j) m[i * d + j] -= factor * m[k * d + j];
      right[i] -= factor * right[k];
    }
  }
  for (int64_t k = d - 1; k >= 0; --k) {
    double rest = right[k];
    for (int64_t j = k + 1; j < d; ++j) rest -= m[k * d + j] * right[j];
    right[k] = rest / m[k * d + k];
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
