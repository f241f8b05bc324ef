// Discretisation of diagonal state-space models and its chain rule. V is double or lanes of it. Equation numbers: README.md.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/lanes/elementary.hpp"
#include "core/lanes/twofold.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

template <class V>
QF_HD cplx<V> where(Bits<V> mask, cplx<V> a, cplx<V> b) {
  return {mask ? a.re : b.re, mask ? a.im : b.im};
}

template <class V>
struct Exponential {
  cplx<V> value, minus_one;
};
// e^(a + i b) and e^(a + i b) - 1, b = im + low, without cancellation: the real parts are e^a cos b and expm1(a) cos b - 2 sin^2(b/2).
template <class V>
QF_HD Exponential<V> exponential(V re, V im, V low) {
  V s, c;
  elementary::sin_cos(V(im * 0.5), V(low * 0.5), s, c);
  const V grown = elementary::exp(re), twice = grown * (s + s);
  return {{grown - twice * s, twice * c}, {elementary::expm1(re) - twice * s, twice * c}};
}

// One discrete mode: z^l = e^(l (log + i low)), Cbar = C B b.
template <class V>
struct Pole {
  cplx<V> log;
  V low;  // the rounding error of Im log z; needed because l log z is a phase of many turns
  cplx<V> z, b;
};

// e^(t (log + i low)): the phase t log z in double-double arithmetic.
template <class V>
QF_HD cplx<V> raised(cplx<V> log, V low, V t) {
  const V phase = log.im * t;
  V s, c;
  elementary::sin_cos(phase, V(multiply_add_exact(log.im, t, V(-phase)) + low * t), s, c);
  const V size = elementary::exp(V(log.re * t));
  return {size * c, size * s};
}

// dt A; `low` is the rounding error of its imaginary part.
template <class V>
QF_HD cplx<V> step_times(V dt, cplx<V> A, V& low) {
  const cplx<V> x = scaled(A, dt);
  low = multiply_add_exact(dt, A.im, V(-x.im));
  return x;
}

// psi(x) = (e^x - 1) / x, 1 at 0.
template <class V>
QF_HD cplx<V> psi(cplx<V> x, const Exponential<V>& e) {
  const V size = norm(x);
  const auto tiny = size < 1e-40;  // |x| < 1e-20: 1 to the last digit
  return where<V>(tiny, {x.re * 0.5 + 1, x.im * 0.5}, scaled(e.minus_one * conjugate(x), V(1 / size)));
}
// psi'(x) = (e^x - psi) / x. For |x| < 1/8, where the difference cancels, uses the series sum_k x^k / (k! (k + 2)).
template <class V>
QF_HD cplx<V> psi_derivative(cplx<V> x, const Exponential<V>& e) {
  constexpr double c[] = {1.0 / 2, 1.0 / 3, 1.0 / 8, 1.0 / 30, 1.0 / 144, 1.0 / 840, 1.0 / 5760, 1.0 / 45360, 1.0 / 403200};
  const V size = norm(x);
  cplx<V> series{broadcast<V>(c[8]), V{}};
  for (int k = 7; k >= 0; --k) {
    series = series * x;
    series.re += c[k];
  }
  return where<V>(size < 1.0 / 64, series, scaled((e.value - psi(x, e)) * conjugate(x), V(1 / size)));
}

// (1)
template <class V>
QF_HD Pole<V> zoh(V dt, cplx<V> A) {
  Pole<V> p;
  p.log = step_times(dt, A, p.low);
  const Exponential<V> e = exponential(p.log.re, p.log.im, p.low);
  p.z = e.value;
  p.b = scaled(psi(p.log, e), dt);
  return p;
}

// Returns the rounding error of `phase`, the leading double of the phase of u = re + i im, where |u| = 1 to rounding. Repeated squaring in
// double-double arithmetic gives u^(2^k). Its phase differs from 2^k times `phase` by 2^k times the error.
template <class V>
QF_HD V phase_rest(Twofold<V> re, Twofold<V> im, V phase) {
  constexpr int k = 20;
  for (int i = 0; i < k; ++i) {
    const Twofold<V> twice{re.hi + re.hi, re.lo + re.lo};
    const V hi = rounded_product(twice.hi, im.hi);
    const Twofold<V> cross{hi, multiply_add_exact(twice.hi, im.hi, V(-hi)) + (twice.hi * im.lo + twice.lo * im.hi)};
    re = difference(square(re), square(im));
    im = cross;
  }
  V s, c;
  elementary::sin_cos(V(phase * double(1 << k)), s, c);
  return (im.hi * c - re.hi * s) * (1.0 / (1 << k));
}

// (2), (3) z = (1 + x/2) / (1 - x/2): |z| by artanh, the angle from (1 - |x|^2/4) + i Im x. `rest`: also computes the second double of the
// phase, for float64 kernels.
template <bool rest, class V>
QF_HD Pole<V> bilinear(V dt, cplx<V> A) {
  constexpr double min_size = 1e-30, min_log = -69.07755278982137;  // for a pole at 0 (x = -2): derivatives stay in the range of float32
  Pole<V> p;
  V low;
  const cplx<V> x = step_times(dt, A, low), half = scaled(x, broadcast<V>(0.5));
  const V size = norm(half), across = x.re / (size + 1);
  const V above = (half.re + 1) * (half.re + 1) + half.im * half.im, below = (1 - half.re) * (1 - half.re) + half.im * half.im;
  const auto small = across * across < 1.0 / 9;
  p.log.re = small ? V(0.5 * elementary::twice_artanh(across)) : V(0.5 * elementary::log(V(above / below)));
  p.log.re = p.log.re < min_log ? broadcast<V>(min_log) : p.log.re;

  cplx<V> direction{1 - size, x.im};
  const V length = square_root(norm(direction));
  const auto none = length == 0.0;
  const V scale = none ? broadcast<V>(1.0) : V(1 / length);
  direction = {none ? broadcast<V>(1.0) : direction.re, direction.im};
  p.log.im = elementary::angle(V(direction.re * scale), V(direction.im * scale));
  p.low = V{};
  if constexpr (rest) {
    const Twofold<V> re{half.re, multiply_add_exact(V(0.5 * dt), A.re, V(-half.re))}, im{half.im, V(0.5 * low)};
    const Twofold<V> one{broadcast<V>(1.0), V{}};
    Twofold<V> q = difference(difference(one, square(re)), square(im));
    q = {none ? broadcast<V>(1.0) : q.hi, none ? V{} : q.lo};
    p.low = phase_rest(product(scale, q), product(scale, Twofold<V>{x.im, low}), p.log.im);
  }
  const auto gone = above < min_size * min_size * below;
  p.z = where<V>(gone, scaled(direction, V(scale * min_size)), scaled(cplx<V>{1 - size, x.im}, V(1 / below)));
  p.b = scaled(reciprocal(cplx<V>{1 - half.re, -half.im}), dt);
  return p;
}

// (4) DSS: divides each mode by its sum over l, regularised near 0. `sign` is -1 if Re A > 0, otherwise 1.
template <class V>
struct DssParts {
  V sign;
  Exponential<V> one, all;  // e^y and e^(y L), y = sign dt A
  cplx<V> q, r;
  V m;  // |q|^2 + softness
};
template <class V>
QF_HD DssParts<V> dss_parts(V dt, cplx<V> A, V L) {
  constexpr double softness = 1e-7;  // the value of state-spaces/s4
  DssParts<V> d;
  d.sign = A.re > 0.0 ? broadcast<V>(-1.0) : broadcast<V>(1.0);
  V low;
  const cplx<V> y = scaled(step_times(dt, A, low), d.sign);
  low *= d.sign;
  d.one = exponential(y.re, y.im, low);
  const V phase = y.im * L;
  d.all = exponential(V(y.re * L), phase, V(multiply_add_exact(y.im, L, V(-phase)) + low * L));
  d.q = A * d.all.minus_one;
  d.m = norm(d.q) + softness;
  d.r = scaled(conjugate(d.q), V(1 / d.m));
  return d;
}
template <class V>
QF_HD Pole<V> dss(V dt, cplx<V> A, V L) {
  const DssParts<V> d = dss_parts(dt, A, L);
  Pole<V> p;
  p.log = step_times(dt, A, p.low);
  p.z = exponential(p.log.re, p.log.im, p.low).value;
  p.b = d.one.minus_one * d.r;
  return p;
}

// (11) Computes the gradients of A and dt from those of log z and b.
template <class V>
struct PoleAdjoint {
  cplx<V> A;
  V dt;  // the gradient of dt from one mode
};
template <class V>
QF_HD PoleAdjoint<V> zoh_adjoint(V dt, cplx<V> A, cplx<V> g_log, cplx<V> g_b) {
  V low;
  const cplx<V> x = step_times(dt, A, low);
  const Exponential<V> e = exponential(x.re, x.im, low);
  const cplx<V> g_x = g_log + scaled(conjugate(psi_derivative(x, e)) * g_b, dt);
  return {scaled(g_x, dt), inner(A, g_x) + inner(psi(x, e), g_b)};
}
template <class V>
QF_HD PoleAdjoint<V> bilinear_adjoint(V dt, cplx<V> A, cplx<V> z, cplx<V> g_log, cplx<V> g_b) {
  const cplx<V> d = reciprocal(cplx<V>{1 - 0.5 * dt * A.re, -0.5 * dt * A.im});
  const cplx<V> g_x = conjugate(d * d) * (conjugate(reciprocal(z)) * g_log + scaled(g_b, V(0.5 * dt)));
  return {scaled(g_x, dt), inner(A, g_x) + inner(d, g_b)};
}
template <class V>
QF_HD PoleAdjoint<V> dss_adjoint(V dt, cplx<V> A, V L, cplx<V> g_log, cplx<V> g_b) {
  const DssParts<V> d = dss_parts(dt, A, L);
  const cplx<V> g_r = conjugate(d.one.minus_one) * g_b;
  const V along = g_r.re * d.q.re - g_r.im * d.q.im;  // Re(g_r q)
  const cplx<V> g_q = scaled(conjugate(g_r), V(1 / d.m)) - scaled(d.q, V(2 * along / (d.m * d.m)));
  const cplx<V> g_y = conjugate(d.r * d.one.value) * g_b + scaled(conjugate(A * d.all.value) * g_q, L);
  const cplx<V> g_x = g_log + scaled(g_y, d.sign);
  return {scaled(g_x, dt) + conjugate(d.all.minus_one) * g_q, inner(A, g_x)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
