// The formulas of Mamba-2's scan, for lanes V of steps. Equation numbers: README.md.
#pragma once
#include "ssm/selective/formula.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

// (1) A step size clipped to its limits; NaN stays NaN.
template <class V>
QF_HD V clipped(V x, V low, V high) {
  return x < low ? low : x > high ? high : x;
}
// The derivative of `clipped`: 0 outside the limits, 1 inside and on them.
template <class V>
QF_HD V clip_slope(V x, V low, V high) {
  const V one = broadcast<V>(Element<V>(1));
  return x < low ? V{} : x > high ? V{} : one;
}

// The exponent of one step, as a power of 2. Clipped far beyond underflow and overflow, so that sums stay finite.
template <class T>
QF_HD T step_exponent(T dt, T rate) {
  constexpr T far = T(1 << 20);
  const T a = dt * rate;
  return a < -far ? -far : a > far ? far : a;
}

// A running sum stored as two numbers (Knuth's two-sum), so that the error of a difference is relative to the difference.
template <class V>
struct Exponent {
  V high, low;
};
template <class T>
QF_HD Exponent<T> plus(Exponent<T> sum, T a) {
  const T s = sum.high + a, b = s - sum.high;
  return {s, sum.low + ((sum.high - (s - b)) + (a - b))};
}
// (3) The decay from one step to a later one: 2^(later - earlier).
template <class V>
QF_HD V decay(Exponent<V> later, Exponent<V> earlier) {
  return elementary::exp2(V((later.high - earlier.high) + (later.low - earlier.low)));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
