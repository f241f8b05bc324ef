// Boundary values and sources at W points at once. No libm calls, so a lane's result depends on that lane alone.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// Replaces x by e^x for x <= 0, flushing subnormal results to 0. U independent vectors hide the latency: a single chain takes 60 cycles.
template <int U, class V>
QF_HD void exp_negative(V (&x)[U]) {
  using T = Element<V>;
  using I = Bits<V>;
  constexpr bool single = sizeof(T) == 4;
  constexpr T lowest = single ? T(-87) : T(-708), to_integer = single ? T(0x1.8p23) : T(0x1.8p52);
  V shifted[U], r[U], e[U];
  for (int u = 0; u < U; ++u) {
    const V clipped = higher(x[u], broadcast<V>(lowest));
    shifted[u] = clipped * T(1.4426950408889634) + to_integer;  // the integer is in the low bits
    const V n = shifted[u] - to_integer;
    r[u] = clipped - n * T(single ? 0.693359375 : 6.93145751953125e-1);
    r[u] = r[u] - n * T(single ? -2.12194440e-4 : 1.42860682030941723212e-6);
  }
  if constexpr (single) {
    constexpr T c[] = {T(1.9875691500e-4), T(1.3981999507e-3), T(8.3334519073e-3),
                       T(4.1665795894e-2), T(1.6666665459e-1), T(5.0000001201e-1)};
    for (int u = 0; u < U; ++u) e[u] = r[u] * c[0] + c[1];
    for (int k = 2; k < 6; ++k)
      for (int u = 0; u < U; ++u) e[u] = e[u] * r[u] + c[k];
    for (int u = 0; u < U; ++u) e[u] = e[u] * (r[u] * r[u]) + (r[u] + T(1));
  } else {
    for (int u = 0; u < U; ++u) {
      const V z = r[u] * r[u];
      const V p = r[u] * ((z * T(1.26177193074810590878e-4) + T(3.02994407707441961300e-2)) * z + T(9.99999999999999999910e-1));
      const V q = ((z * T(3.00198505138664455042e-6) + T(2.52448340349684104192e-3)) * z + T(2.27265548208155028766e-1)) * z + T(2.0);
      e[u] = p / (q - p) * T(2.0) + T(1.0);
    }
  }
  for (int u = 0; u < U; ++u) {
    const I power = shift_left(as_bits<I>(shifted[u]), single ? 23 : 52) + as_bits<I>(broadcast<V>(T(1)));  // bits of 2^n
    x[u] = x[u] < lowest ? V{} : e[u] * as_bits<V>(power);
  }
}
template <class V>
QF_HD V exp_negative(V x) {
  V one[1] = {x};
  exp_negative(one);
  return one[0];
}

// (1) without a0, which is added in float64, so a constant is exact. number(k): parameter k. At the centre the angle is 0, as in atan2.
template <class V, class Number>
QF_HD V fourier_modes(const Number& number, int64_t width, V x, V y) {
  using T = Element<V>;
  const V dx = x - number(0), dy = y - number(1);
  const V r2 = dx * dx + dy * dy;
  const V inverse = broadcast<V>(T(1)) / square_root(r2);
  const V c1 = r2 > 0 ? dx * inverse : broadcast<V>(T(1)), s1 = r2 > 0 ? dy * inverse : V{};
  V c = c1, s = s1, sum{};
  for (int64_t k = 3; k + 1 < width; k += 2) {
    sum += c * number(k) + s * number(k + 1);
    const V next = c * c1 - s * s1;
    s = s * c1 + c * s1;
    c = next;
  }
  return sum;
}

// (2) at U vectors of points, which share one read of each parameter, number(k).
template <int D, int U, class V, class Number>
QF_HD void gaussians(const Number& number, int64_t width, const V (&x)[D][U], V (&sum)[U]) {
  for (int u = 0; u < U; ++u) sum[u] = V{};
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    const V amplitude = number(k), inverse = -number(k + D + 1);
    V r2[U] = {};
    for (int i = 0; i < D; ++i) {
      const V centre = number(k + 1 + i);
      for (int u = 0; u < U; ++u) r2[u] = multiply_add(x[i][u] - centre, x[i][u] - centre, r2[u]);
    }
    for (int u = 0; u < U; ++u) r2[u] = r2[u] * inverse;
    exp_negative(r2);
    for (int u = 0; u < U; ++u) sum[u] = multiply_add(r2[u], amplitude, sum[u]);
  }
}

// (3) Calls add(j, s d(value) / d(parameter j)) for the two coordinates of the centre, a0, a1, b1, ...
template <class V, class Add>
QF_HD void fourier_adjoint(const double* numbers, int64_t width, V x, V y, V s, Add&& add) {
  using T = Element<V>;
  const V dx = x - T(numbers[0]), dy = y - T(numbers[1]);
  const V r2 = dx * dx + dy * dy;
  const V inverse = r2 > 0 ? broadcast<V>(T(1)) / square_root(r2) : V{};  // at the centre the angle is treated as constant
  const V c1 = r2 > 0 ? dx * inverse : broadcast<V>(T(1)), s1 = r2 > 0 ? dy * inverse : V{};
  V c = c1, sn = s1, slope{};  // derivative of the value with respect to the angle
  add(2, s);
  T m = 1;
  for (int64_t k = 3; k + 1 < width; k += 2, m += 1) {
    add(k, s * c);
    add(k + 1, s * sn);
    slope += (c * T(numbers[k + 1]) - sn * T(numbers[k])) * m;
    const V next = c * c1 - sn * s1;
    sn = sn * c1 + c * s1;
    c = next;
  }
  const V rate = s * slope * inverse;
  add(0, rate * s1);
  add(1, -(rate * c1));
}

// (4) The same for each Gaussian's amplitude, centre and inverse squared width.
template <class V, int D, class Add>
QF_HD void gaussians_adjoint(const double* numbers, int64_t width, const V (&x)[D], V s, Add&& add) {
  using T = Element<V>;
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    V d[D], r2{};
    for (int i = 0; i < D; ++i) d[i] = x[i] - T(numbers[k + 1 + i]), r2 += d[i] * d[i];
    const V bell = exp_negative(-(r2 * T(numbers[k + D + 1]))) * s;
    add(k, bell);
    const V scaled = bell * T(numbers[k]);
    for (int i = 0; i < D; ++i) add(k + 1 + i, scaled * d[i] * T(2 * numbers[k + D + 1]));
    add(k + D + 1, -(scaled * r2));
  }
}

// ------------------------------------------------------------ polynomials

// (6) Horner's rule, axis by axis, in U independent chains. c[i, j(, k)] multiplies x^i y^j (z^k). c[0, 0(, 0)] is used only if `constant`.
template <int D, int U, class V>
QF_HD void polynomial(const double* c, const int64_t* n, const V (*x)[U], bool constant, V (&sum)[U]) {
  using T = Element<V>;
  for (int u = 0; u < U; ++u) sum[u] = V{};
  if constexpr (D == 1) {
    for (int64_t k = n[0] - 1; k >= 0; --k) {
      const V here = broadcast<V>(k == 0 && !constant ? T(0) : T(c[k]));
      for (int u = 0; u < U; ++u) sum[u] = multiply_add(sum[u], x[0][u], here);
    }
  } else {
    int64_t inner = 1;
    for (int i = 1; i < D; ++i) inner *= n[i];
    for (int64_t k = n[0] - 1; k >= 0; --k) {
      V here[U];
      polynomial<D - 1, U, V>(c + k * inner, n + 1, x + 1, constant || k > 0, here);
      for (int u = 0; u < U; ++u) sum[u] = multiply_add(sum[u], x[0][u], here[u]);
    }
  }
}

// (7) Calls add(index, s x^i y^j (z^k)) for every coefficient, starting with index `at`. Returns the index after the last.
template <int D, class V, class Add>
QF_HD int64_t polynomial_adjoint(const int64_t* n, const V* x, V s, int64_t at, Add&& add) {
  if constexpr (D == 0) {
    add(at, s);
    return at + 1;
  } else {
    for (int64_t k = 0; k < n[0]; ++k, s = s * x[0]) at = polynomial_adjoint<D - 1, V>(n + 1, x + 1, s, at, add);
    return at;
  }
}

// ------------------------------------------------------------ grids

// The positions of W points in a grid of n[0] x n[1] (x n[2]) nodes.
template <class V, int D>
struct Cells {
  Bits<V> node;         // of the cell's lowest corner, as an index into the values
  V fraction[D], t[D];  // position in the cell, 0 to 1; position in the grid, 0 to n - 1
  Bits<V> inside[D];    // whether t was not clamped
};

// (8) x is scaled. `box` is the lowest and highest corners of the grid, in absolute coordinates. Points outside move to the closest face.
template <class V, int D>
QF_HD Cells<V, D> cells(const double* box, const int64_t (&n)[D], const double* frame, const V (&x)[D]) {
  using I = Bits<V>;
  Cells<V, D> at;
  at.node = I{};
  for (int i = 0; i < D; ++i) {
    const double last = double(n[i] - 1), per = last / (box[D + i] - box[i]);
    const V t = (x[i] * frame[D] + (frame[i] - box[i])) * per;
    at.inside[i] = (t >= 0) & (t <= last);
    at.t[i] = lower(higher(t, V{}), broadcast<V>(last));
    const V corner = lower(converted<Element<V>>(converted<Element<I>>(at.t[i])), broadcast<V>(last - 1));
    at.fraction[i] = at.t[i] - corner;
    at.node = at.node * n[i] + converted<Element<I>>(corner);
  }
  return at;
}

// The values at the corners of cells. v[b] belongs to corner b, where the lowest bit of b selects along the last axis.
template <int D, class V>
QF_HD void corners(const double* values, const int64_t (&n)[D], Bits<V> node, V (&v)[1 << D]) {
  for (int b = 0; b < 1 << D; ++b) {
    int64_t offset = 0;
    for (int i = 0; i < D; ++i) offset = offset * n[i] + (b >> (D - 1 - i) & 1);
    V here{};
    if constexpr (kWidth<V> == 1)
      here = values[node + offset];
    else
      for (int l = 0; l < kWidth<V>; ++l) here[l] = values[node[l] + offset];
    v[b] = here;
  }
}

// Interpolates linearly along every axis. Equal neighbours give exactly their value.
template <int D, class V>
QF_HD V interpolated(const V* v, const V* fraction) {
  if constexpr (D == 0) {
    return *v;
  } else {
    const V a = interpolated<D - 1>(v, fraction + 1), b = interpolated<D - 1>(v + (1 << (D - 1)), fraction + 1);
    return multiply_add(*fraction, b - a, a);
  }
}

// The derivative with respect to `fraction` along an axis.
template <int D, class V>
QF_HD V slope(const V* v, const V* fraction, int axis) {
  if constexpr (D == 0) {
    return V{};
  } else {
    const V* const above = v + (1 << (D - 1));
    if (axis == 0) return interpolated<D - 1>(above, fraction + 1) - interpolated<D - 1>(v, fraction + 1);
    const V a = slope<D - 1>(v, fraction + 1, axis - 1);
    return multiply_add(*fraction, slope<D - 1>(above, fraction + 1, axis - 1) - a, a);
  }
}

// (9) Adds s dg/dv to the gradient at every corner of one point's cell.
template <int D, class Sums>
QF_HD void add_to_corners(Sums to, const int64_t* n, const double* fraction, double s) {
  if constexpr (D == 0) {
    *to += s;
  } else {
    int64_t next = 1;
    for (int i = 1; i < D; ++i) next *= n[i];
    add_to_corners<D - 1>(to, n + 1, fraction + 1, s * (1 - *fraction));
    add_to_corners<D - 1>(to + next, n + 1, fraction + 1, s * *fraction);
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
