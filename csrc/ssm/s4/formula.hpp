// Bilinear steps of a diagonal plus low-rank system, and their chain rule. V is double or lanes of it. Equation numbers: README.md.
#pragma once
#include "ssm/modes/formula.hpp"

namespace quatrefoil::ssm::s4 {
using namespace modes;
inline namespace QF_ISA {

// (4): one mode of x <- E x - p Re sum q x. D = 1 / (1 - dt/2 Lambda); E avoids the cancellation of 2 D - 1.
template <class V>
struct DplrMode {
  cplx<V> D, E, q;
};
template <class V>
QF_HD DplrMode<V> dplr_mode(V dt, cplx<V> lambda, cplx<V> Q) {
  const cplx<V> half = scaled(lambda, V(0.5 * dt));
  const V below = (1 - half.re) * (1 - half.re) + half.im * half.im;
  const cplx<V> D = reciprocal(cplx<V>{1 - half.re, -half.im});
  return {D, {(1 - norm(half)) / below, 2 * half.im / below}, scaled(conjugate(Q) * D, broadcast<V>(2.0))};
}

// Re(a b): the contribution of one mode to q x, c x and q P.
template <class V>
QF_HD V real_product(cplx<V> a, cplx<V> b) {
  return a.re * b.re - a.im * b.im;
}

// (6): computes the gradients of Lambda and dt from those of D (which b, p and q use) and E.
template <class V>
QF_HD PoleAdjoint<V> dplr_adjoint(V dt, cplx<V> lambda, cplx<V> D, cplx<V> g_D, cplx<V> g_E) {
  const cplx<V> g_half = conjugate(D * D) * (g_D + g_E + g_E);
  return {scaled(g_half, V(0.5 * dt)), 0.5 * inner(lambda, g_half)};
}

// (1): v / (z - w), and for a pair + conj v / (z - conj w) over one denominator. Differences are taken before products, so that the result
// is accurate at a point near a pole.
template <bool pair, class V>
QF_HD cplx<V> cauchy_term(cplx<V> v, cplx<V> z, cplx<V> w) {
  const cplx<V> d = z - w;
  if constexpr (!pair) return v * reciprocal(d);
  const V other = z.im + w.im;  // Im(z - conj w); the real part is the same as that of d
  const cplx<V> numerator{2 * (v.re * d.re - v.im * w.im), 2 * (v.re * z.im)};
  return numerator * reciprocal(cplx<V>{d.re * d.re - d.im * other, d.re * (d.im + other)});
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
