// The formulas of the transforms between values and Chebyshev coefficients. Equation numbers: README.md.
#pragma once
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::transform {
inline namespace QF_ISA {

// (4) Replaces two symmetric elements by their sum and difference.
template <class V>
QF_HD void fold(V& low, V& high) {
  const V sum = low + high;
  high = low - high;
  low = sum;
}

// (1) The angle of an entry of D in units of pi / N.
QF_HD int64_t angle(int64_t k, int64_t j, int64_t N) { return k * j % (2 * N); }

// (6) The angle of w_m in units of pi / (2N): m^2, for m below 2^31.
QF_HD int64_t chirp_angle(int64_t m, int64_t N) { return m * m % (4 * N); }

// (7) Re(w z) for w = c + i s
template <class V>
QF_HD V real_part(V c, V s, V re, V im) {
  return multiply_add(c, re, V(-(s * im)));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::transform
