// Fourier series and sums of Gaussians at W points at once, without libm: what a lane computes depends on that lane alone.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// e^x for x <= 0; 0 below the smallest normal number.
template <class V>
QF_HD V exp_negative(V x) {
  using T = Element<V>;
  using I = Bits<V>;
  constexpr bool single = sizeof(T) == 4;
  constexpr T lowest = single ? T(-87) : T(-708), to_integer = single ? T(0x1.8p23) : T(0x1.8p52);
  const V clipped = higher(x, broadcast<V>(lowest));
  const V shifted = clipped * T(1.4426950408889634) + to_integer;  // the integer lies in the low bits
  const V n = shifted - to_integer;
  V r = clipped - n * T(single ? 0.693359375 : 6.93145751953125e-1);
  r = r - n * T(single ? -2.12194440e-4 : 1.42860682030941723212e-6);
  V e;
  if constexpr (single) {
    e = ((((r * 1.9875691500e-4f + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r +
        5.0000001201e-1f;
    e = e * (r * r) + (r + 1.0f);
  } else {
    const V z = r * r;
    const V p = r * ((z * 1.26177193074810590878e-4 + 3.02994407707441961300e-2) * z + 9.99999999999999999910e-1);
    const V q = ((z * 3.00198505138664455042e-6 + 2.52448340349684104192e-3) * z + 2.27265548208155028766e-1) * z + 2.0;
    e = p / (q - p) * 2.0 + 1.0;
  }
  const I power = shift_left(as_bits<I>(shifted), single ? 23 : 52) + as_bits<I>(broadcast<V>(T(1)));  // bits of 2^n
  return x < lowest ? V{} : e * as_bits<V>(power);
}

// a0 apart: it is added in float64, so that a constant comes out exact. Angle 0 at the centre itself, as atan2 has it.
template <class V>
QF_HD V fourier_modes(const double* numbers, int64_t width, V x, V y) {
  using T = Element<V>;
  const V dx = x - T(numbers[0]), dy = y - T(numbers[1]);
  const V r2 = dx * dx + dy * dy;
  const V inverse = broadcast<V>(T(1)) / square_root(r2);
  const V c1 = r2 > 0 ? dx * inverse : broadcast<V>(T(1)), s1 = r2 > 0 ? dy * inverse : V{};
  V c = c1, s = s1, sum{};
  for (int64_t k = 3; k + 1 < width; k += 2) {
    sum += c * T(numbers[k]) + s * T(numbers[k + 1]);
    const V next = c * c1 - s * s1;
    s = s * c1 + c * s1;
    c = next;
  }
  return sum;
}

template <class V, int D>
QF_HD V gaussians(const double* numbers, int64_t width, const V (&x)[D]) {
  using T = Element<V>;
  V sum{};
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    V r2{};
    for (int i = 0; i < D; ++i) r2 += (x[i] - T(numbers[k + 1 + i])) * (x[i] - T(numbers[k + 1 + i]));
    sum += exp_negative(-(r2 * T(numbers[k + D + 1]))) * T(numbers[k]);
  }
  return sum;
}

// (3) Adds s d(value) / d(number j) to the vector sums[j] for the centre (2), a0, a1, b1, ...
template <class V>
QF_HD void fourier_adjoint(const double* numbers, int64_t width, V x, V y, V s, Element<V>* sums) {
  using T = Element<V>;
  constexpr int W = kWidth<V>;
  const auto add = [&](int64_t j, V v) { store(sums + j * W, load<V>(sums + j * W) + v); };
  const V dx = x - T(numbers[0]), dy = y - T(numbers[1]);
  const V r2 = dx * dx + dy * dy;
  const V inverse = r2 > 0 ? broadcast<V>(T(1)) / square_root(r2) : V{};  // at the centre itself the angle counts as constant
  const V c1 = r2 > 0 ? dx * inverse : broadcast<V>(T(1)), s1 = r2 > 0 ? dy * inverse : V{};
  V c = c1, sn = s1, slope{};  // of the value in the angle
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
  const V turned = s * slope * inverse;
  add(0, turned * s1);
  add(1, -(turned * c1));
}

// (4) The same for each bell's amplitude, centre and inverse square of its width.
template <class V, int D>
QF_HD void gaussians_adjoint(const double* numbers, int64_t width, const V (&x)[D], V s, Element<V>* sums) {
  using T = Element<V>;
  constexpr int W = kWidth<V>;
  const auto add = [&](int64_t j, V v) { store(sums + j * W, load<V>(sums + j * W) + v); };
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

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
