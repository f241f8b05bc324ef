// The mathematics of walk on stars. Equation numbers refer to README.md. No libm calls.
#pragma once
#include "wos/mesh/formula.hpp"
#include "wos/polygon/formula.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

// (3) The weight of a walk that hits a wall at s R with screening; L = -ln s, z = R sqrt(screening). It is 1 / I_0(z) at s = 1.
template <class V>
QF_HD V hit_weight(V s, V L, V z2) {
  using T = Element<V>;
  const V end = z2 * T(0.25), q = end * s * s;
  const V a = walk::harmonic_series<0>(end) / walk::bessel_series<0>(end);
  return T(1) + T(2) * q * (walk::bessel_series<2>(q) * (a - L) - walk::harmonic_series<1>(q));
}

// (3') The weight of (3) in a ball.
template <class V>
QF_HD V hit_weight_ball(V s, V z2) {
  using T = Element<V>;
  const V end = z2 * T(0.25), rest = T(1) - s, q = end * rest * rest;
  return (rest * walk::bessel_series<1>(q) + s * walk::bessel_series<-1>(q)) / walk::bessel_series<1>(end);
}

// (5) The integral of ln(R / r) / 2 pi along a line at distance p > 0 from the centre, from the foot of the perpendicular to t >= 0.
template <class T>
QF_HD T line_mass(T p, T t, T R) {
  const T r2 = p * p + t * t;
  if (!(r2 > T(0))) return T(0);
  const T r = square_root(r2);
  return (t * (elementary::log(R / r) + T(1)) - p * elementary::angle(p / r, t / r)) * T(0.15915494309189533577);
}

// (5') 4 pi times the integral of G, within the ball, over the triangle spanned by the foot of the centre in a plane and an interval of a
// line in that plane. p >= 0: height above the plane; h >= 0: distance of the foot from the line; from, to: ends of the interval.
template <class T>
QF_HD T edge_mass(T p, T h, T from, T to, T R) {
  const auto angle = [](T re, T im) {
    const T r = square_root(re * re + im * im);
    return r > T(0) ? elementary::angle(re / r, im / r) : T(0);
  };
  const T q2 = h * h + p * p, half2 = R * R - q2, half = half2 > T(0) ? square_root(half2) : T(0);
  const auto line = [&](T s) {
    const T away = square_root(s * s + q2), size = s < T(0) ? -s : s;
    const T log = q2 > T(0) ? T(elementary::log((size + away) / square_root(q2))) : T(0);
    return h * (s < T(0) ? -log : log) + p * (angle(h * away, p * s) - angle(h, s)) - h * s / (T(2) * R);
  };
  const T begin = lower(higher(from, -half), half), end = lower(higher(to, -half), half);
  const T arc = (angle(h, to) - angle(h, end)) + (angle(h, begin) - angle(h, from));
  return line(end) - line(begin) + arc * (R - p) * (R - p) / (T(2) * R);
}

// (7) The t at which the ray x + t d meets the segments a + s e from inside (from their left). Returns `none` if it does not meet them
// before `limit`, or if x + end d is not beyond their lines. `slack`: rounding error, as a length. A point outside a segment by less
// than slack meets it at t = 0. Without this rule, a ray along the segment would meet its line at a large negative t.
template <class V>
QF_HD V ray_hit(const V (&x)[2], const V (&d)[2], V ax, V ay, V ex, V ey, V inverse_length, Element<V> limit, Element<V> end,
                Element<V> slack, Element<V> none) {
  using T = Element<V>;
  const V px = ax - x[0], py = ay - x[1];
  const V det = d[0] * ey - d[1] * ex;  // positive: the ray leaves the domain
  const V inverse = broadcast<V>(T(1)) / (det > T(0) ? det : broadcast<V>(T(1)));
  const V crossing = (px * ey - py * ex) * inverse, zero{};
  const V foot = (px * ex + py * ey) * (-inverse_length * inverse_length);
  const V t = crossing > T(0) ? crossing : zero, s = crossing > T(0) ? (px * d[1] - py * d[0]) * inverse : foot;
  const V over = inverse_length * slack;
  const auto meets = (det > T(0)) & (-crossing * det * inverse_length < slack) & (t <= limit) & (s >= -over) & (s <= T(1) + over) &
                     ((end - t) * det * inverse_length > slack);
  return meets ? t : broadcast<V>(none);
}

// (8) ray_hit for triangles. field(k) are the fields of mesh/formula.hpp, with the normal pointing out of the domain. (u, v) becomes the
// point where the ray meets the triangle's plane.
template <class V, class Field>
QF_HD V ray_hit_triangle(const V (&x)[3], const V (&d)[3], Field&& field, Element<V> limit, Element<V> end, Element<V> slack,
                         Element<V> none, V& u, V& v) {
  using T = Element<V>;
  const mesh::Local<V> at = mesh::local<V>(x, field);
  V along[3] = {};
  for (int k = 0; k < 3; ++k)
    for (int j = 0; j < 3; ++j) along[k] += d[j] * field(mesh::kAlong + 3 * k + j);
  const V det = along[2];
  const V crossing = -at.w / (det > T(0) ? det : broadcast<V>(T(1))), t = crossing > T(0) ? crossing : V{};
  u = at.u + t * along[0], v = at.v + t * along[1];
  const V length = field(mesh::kLength), cx = field(mesh::kX), cy = field(mesh::kY), ex = cx - length;
  const V of_bc = (ex * v - cy * (u - length)) * square_root(field(mesh::kInverseBC));
  const V of_ca = (cy * u - cx * v) * square_root(field(mesh::kInverseCA));
  const auto meets =
      (det > T(0)) & (at.w < slack) & (t <= limit) & (v >= -slack) & (of_bc >= -slack) & (of_ca >= -slack) & ((end - t) * det > slack);
  return meets ? t : broadcast<V>(none);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
