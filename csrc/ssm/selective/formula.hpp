// The formulas of Mamba's kernels. V is a vector or a scalar; states have type V or cplx<V>. Equation numbers: README.md.
#pragma once
#include "core/lanes/elementary.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr double kLog2e = 1.4426950408889634074;

// (1) a = e^{delta A}, from rate = A log2(e); its imaginary part stays in radians.
template <class V>
QF_HD V decay_rate(V A) {
  return A * Element<V>(kLog2e);
}
template <class V>
QF_HD cplx<V> decay_rate(cplx<V> A) {
  return {decay_rate(A.re), A.im};
}
template <class V>
QF_HD V decay(V delta, V rate) {
  return elementary::exp2(V(delta * rate));
}
template <class V>
QF_HD cplx<V> decay(V delta, cplx<V> rate) {
  V sine, cosine;
  elementary::sin_cos(V(delta * rate.im), sine, cosine);
  const V size = decay(delta, rate.re);
  return {size * cosine, size * sine};
}

// (3) The contribution of one state to the output: C x, or 2 Re C x if each state stands for a conjugate pair.
template <class V>
QF_HD V readout(V C, V x) {
  return C * x;
}
template <class V>
QF_HD V readout(cplx<V> C, cplx<V> x) {
  const V half = C.re * x.re - C.im * x.im;
  return half + half;
}
// (5), (6) Its gradient with respect to C or x: kappa g conj(other).
template <class V>
QF_HD V readout_adjoint(V g, V other) {
  return g * other;
}
template <class V>
QF_HD cplx<V> readout_adjoint(V g, cplx<V> other) {
  return scaled(conjugate(other), V(g + g));
}

// x / (1 + e^-x), in two steps like softplus.
template <class V>
QF_HD V silu_tail(V x) {
  return elementary::exp(V(-x));
}
template <class V>
QF_HD V silu(V x, V tail) {
  return x / (tail + Element<V>(1));
}
template <class V>
QF_HD V silu(V x) {
  return silu(x, silu_tail(x));
}
// (4) silu' = s (1 + x (1 - s)), s the sigmoid.
template <class V>
QF_HD V silu_slope(V x) {
  using T = Element<V>;
  const V s = elementary::sigmoid(x);
  return s * multiply_add(x, V(T(1) - s), broadcast<V>(T(1)));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
