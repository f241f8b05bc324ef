// The formulas of a linear scan. Equation numbers: README.md.
#pragma once
#include <type_traits>

#include "core/lanes/cplx.hpp"
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"
#include "core/lanes/twofold.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

// (1) h_t = a_t h_{t-1} + b_t. Also (2), with conj(a) and from the other end.
template <class E>
QF_HD E step(E a, E h, E b) {
  return multiply_add(a, h, b);
}

// (3) da_t = mu_t conj(h_{t-1})
template <class E>
QF_HD E factor_adjoint(E mu, E h_before) {
  return mu * conjugate(h_before);
}

// (4) A range of steps as one map, h -> a h + b. `rest` is the rounding error of a. In powers of one coefficient all errors have the same
// sign and would accumulate.
template <class E>
struct Stretch {
  E a, b, rest{};
};
template <class E>
QF_HD bool is_zero(E x) {
  if constexpr (std::is_arithmetic<E>::value)
    return x == 0;
  else
    return x.re == 0 && x.im == 0;
}
// Returns the rounded product `whole`, or `plain` if it is not finite, and writes the rounding error to `rest`.
template <class T>
QF_HD T settled(T plain, Twofold<T> whole, T& rest) {
  const T hi = whole.hi + whole.lo, lo = whole.lo - (hi - whole.hi);
  const bool is_finite = hi - hi == 0;
  rest = is_finite ? lo : T(0);
  return is_finite ? hi : plain;
}
template <class T>
QF_HD void put_product(Stretch<T> first, Stretch<T> then, Stretch<T>& both) {
  both.a = settled(T(then.a * first.a), product(Twofold<T>{then.a, then.rest}, Twofold<T>{first.a, first.rest}), both.rest);
}
template <class T>
QF_HD void put_product(Stretch<cplx<T>> first, Stretch<cplx<T>> then, Stretch<cplx<T>>& both) {
  const Twofold<T> p{then.a.re, then.rest.re}, q{then.a.im, then.rest.im}, r{first.a.re, first.rest.re}, s{first.a.im, first.rest.im};
  const cplx<T> plain = then.a * first.a;
  both.a.re = settled(plain.re, difference(product(p, r), product(q, s)), both.rest.re);
  both.a.im = settled(plain.im, sum(product(p, s), product(q, r)), both.rest.im);
}
template <class E>
QF_HD E after(Stretch<E> s, E h) {
  return is_zero(h) ? s.b : step(s.a, h, s.b);
}
// A zero coefficient clears earlier steps even after overflow, and an overflowed product times a zero state is 0.
template <class E>
QF_HD Stretch<E> compose(Stretch<E> first, Stretch<E> then) {
  Stretch<E> both{E{}, after(then, first.b)};
  if (!is_zero(first.a) && !is_zero(then.a)) put_product(first, then, both);
  return both;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
