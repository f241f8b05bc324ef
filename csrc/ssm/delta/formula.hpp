// The formulas of one token. Equation numbers: README.md.
#pragma once
#include "core/lanes/elementary.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr double kNormEpsilon = 1e-6;  // as in flash-linear-attention's l2norm

// (2) The factor that normalises a query or key, from the sum of its squares.
template <class T>
QF_HD T inverse_norm(T squares) {
  return T(1) / square_root(squares + T(kNormEpsilon));
}

// The decay of one token, in double precision because the decays of a whole chunk may be multiplied.
template <class T>
QF_HD double decay(T g) {
  return elementary::exp(double(g));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
