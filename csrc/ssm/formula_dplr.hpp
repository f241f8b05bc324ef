// Bilinear steps of a diagonal plus low-rank system, and their chain rule. Equation numbers: README.md.
#pragma once
#include "ssm/formula_kernel.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

// (24) One mode of x <- E x - p Re sum q x. D = 1 / (1 - dt/2 Lambda); E has it without the cancellation of 2 D - 1.
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

// Re(a b): one mode's share of q x, of c x and of q P.
template <class V>
QF_HD V real_product(cplx<V> a, cplx<V> b) {
  return a.re * b.re - a.im * b.im;
}

// (26) From the gradients of D (by b, p and q) and E to those of Lambda and dt.
template <class V>
QF_HD PoleGradient<V> dplr_gradient(V dt, cplx<V> lambda, cplx<V> D, cplx<V> g_D, cplx<V> g_E) {
  const cplx<V> g_half = conjugate(D * D) * (g_D + g_E + g_E);
  return {scaled(g_half, V(0.5 * dt)), 0.5 * inner(lambda, g_half)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
