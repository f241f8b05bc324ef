// The maths of state-space convolution. Equation numbers: README.md beside this file.
#pragma once
#include <type_traits>

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

// (4) A stretch of steps as one: h -> a h + b.
template <class E>
struct Stretch {
  E a, b;
};
template <class E>
QF_HD bool is_zero(E x) {
  if constexpr (std::is_arithmetic<E>::value)
    return x == 0;
  else
    return x.re == 0 && x.im == 0;
}
// Zero clears what came before, a product that has overflowed too, and of a state that is zero such a product makes nothing.
template <class E>
QF_HD E factor_of_both(E first, E then) {
  return is_zero(first) || is_zero(then) ? E{} : then * first;
}
template <class E>
QF_HD E after(Stretch<E> s, E h) {
  return is_zero(h) ? s.b : step(s.a, h, s.b);
}
template <class E>
QF_HD Stretch<E> compose(Stretch<E> first, Stretch<E> then) {
  return {factor_of_both(first.a, then.a), after(then, first.b)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
