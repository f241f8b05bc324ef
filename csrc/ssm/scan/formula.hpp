// The maths of state-space convolution. Equation numbers: README.md beside this file.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

// (1) h_t = a_t h_{t-1} + b_t; from the other end, with conj(a), (2). Nothing is divided: a = 0 (a reset) and underflow are exact.
template <class E>
QF_HD E step(E a, E h, E b) {
  return multiply_add(a, h, b);
}

// (3) da_t = mu_t conj(h_{t-1})
template <class E>
QF_HD E factor_adjoint(E mu, E h_before) {
  return mu * conjugate(h_before);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
