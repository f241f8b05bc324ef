// The formulas of nonuniform cosine transforms. Equation numbers: README.md.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

constexpr int kMaxTaps = 16;
// The relative l2 error by the number of taps, for flat random coefficients on three axes (README, Measured).
constexpr double kTapError[kMaxTaps + 1] = {1,      1,      1.2e-1,  1.5e-2,  1.8e-3,  1.8e-4,  1.7e-5,  1.6e-6, 2.0e-7,
                                            2.5e-8, 3.5e-9, 4.5e-10, 4.2e-11, 3.7e-12, 4.0e-13, 5.5e-14, 1.5e-14};
constexpr double kPi = 3.14159265358979323846;

inline int taps_for(double eps) {
  int taps = 2;
  while (taps < kMaxTaps && kTapError[taps] > eps) ++taps;
  return taps;
}

// (3) phi(z) = exp(beta (sqrt(1 - z^2) - 1)) on [-1, 1], 0 elsewhere.
QF_HD double window_beta(int taps) { return 2.30 * taps; }
template <class V>
QF_HD V window(V z, Element<V> beta) {
  using T = Element<V>;
  const V rest = T(1) - z * z;
  return rest >= T(0) ? elementary::exp(V(beta * (square_root(V(rest > T(0) ? rest : V{})) - T(1)))) : V{};
}

// (2) The position of t in [-1, 1] among the grid points 0, ..., H.
template <class V>
QF_HD V position(V t, double H) {
  return elementary::angle(V(-t), square_root(V((1 - t) * (1 + t)))) * (H / kPi);
}

// The smallest grid size that is fast to transform: 2^k, 3 2^k or 5 2^k.
QF_HD int64_t fast_length(int64_t minimum) {
  int64_t best = 1;
  while (best < minimum) best *= 2;
  if (best / 8 * 5 >= minimum) return best / 8 * 5;
  return best / 4 * 3 >= minimum ? best / 4 * 3 : best;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
