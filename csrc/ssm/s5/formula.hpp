// The maths of S5, for numbers or lanes of them. Equation numbers: README.md beside this file.
#pragma once
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

// (2) What a state counts in the output: with conj_sym it stands for its conjugate too, and Re(C x) for both.
QF_HD int multiplicity(bool conj_sym) { return conj_sym ? 2 : 1; }

// (1) x_t = lambda x_{t-1} + B u_t
template <class C>
QF_HD C next_state(C lambda, C x, C fed) {
  return scan::step(lambda, x, fed);
}

// (3) mu_t = conj(lambda) mu_{t+1} + r_t
template <class C>
QF_HD C previous_mu(C lambda, C mu, C r) {
  return scan::step(conjugate(lambda), mu, r);
}
// (5) dlambda += conj(x_{t-1}) mu_t
template <class C>
QF_HD C add_to_dlambda(C x_before, C mu, C sum) {
  return scan::step(conjugate(x_before), mu, sum);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
