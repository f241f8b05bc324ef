// Sums over simple poles: one term. Equation numbers: README.md.
#pragma once
#include "ssm/formula_kernel.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

// (21) v / (z - w), and for a pair + conj v / (z - conj w) over one denominator: differences are taken before anything is multiplied, so
// that a point near a pole keeps its digits.
template <bool pair, class V>
QF_HD cplx<V> cauchy_term(cplx<V> v, cplx<V> z, cplx<V> w) {
  const cplx<V> d = z - w;
  if constexpr (!pair) return v * reciprocal(d);
  const V other = z.im + w.im;  // Im(z - conj w); the real part is that of d
  const cplx<V> numerator{2 * (v.re * d.re - v.im * w.im), 2 * (v.re * z.im)};
  return numerator * reciprocal(cplx<V>{d.re * d.re - d.im * other, d.re * (d.im + other)});
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
