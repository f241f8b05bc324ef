// exp, expm1, sine and cosine, logarithms and angles for lanes and scalars, to about one unit in the last place, without libm or branches.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace elementary {

// Adding this constant rounds a number to an integer, which is then in the low bits of the sum.
template <class T>
constexpr T kRound = sizeof(T) == 8 ? T(6755399441055744.0) : T(12582912.0);  // 1.5 * 2^52, 1.5 * 2^23

// ln 2 in two parts. An integer in the range of the exponent times the first one is exact.
template <class T>
constexpr T kLn2High = sizeof(T) == 8 ? T(0x1.62e42fefap-1) : T(0x1.62ep-1);
template <class T>
constexpr T kLn2Low = sizeof(T) == 8 ? T(0x1.cf79abc9e3b39p-40) : T(0x1.0bfbe8p-15);

// c[0] + x (c[1] + x (...)).
template <int n, class V, class T>
QF_HD V polynomial(V x, const T (&c)[n]) {
  V p = broadcast<V>(c[n - 1]);
  QF_UNROLL(16)
  for (int i = n - 2; i >= 0; --i) p = multiply_add(p, x, broadcast<V>(c[i]));
  return p;
}

// 2^m for an integer m in the range of the exponent.
template <class V>
QF_HD V power_of_two(V m) {
  using T = Element<V>;
  constexpr int bias = sizeof(T) == 8 ? 1023 : 127, mantissa = sizeof(T) == 8 ? 52 : 23;
  return as_bits<V>(shift_left(as_bits<Bits<V>>(V(m + (kRound<T> + bias))), mantissa));
}

// x = n ln 2 + r with |r| <= ln(2) / 2. 2^n is split into two factors that do not overflow.
template <class V>
struct Reduced {
  V r, low, high;  // e^x = e^r * low * high
};
template <class V>
QF_HD Reduced<V> reduce(V x) {
  using T = Element<V>;
  constexpr bool dbl = sizeof(T) == 8;
  constexpr T lowest = dbl ? T(-746) : T(-105), highest = dbl ? T(710) : T(89);  // beyond: 0 and infinity
  x = x < lowest ? broadcast<V>(lowest) : x;
  x = x > highest ? broadcast<V>(highest) : x;
  const V n = (x * T(1.4426950408889634074) + kRound<T>)-kRound<T>;
  V r = multiply_add(n, broadcast<V>(-kLn2High<T>), x);
  r = multiply_add(n, broadcast<V>(-kLn2Low<T>), r);
  const V half = (n * T(0.5) + kRound<T>)-kRound<T>;
  return {r, power_of_two(half), power_of_two(V(n - half))};
}

// (e^r - 1 - r) / r^2 on [-ln(2) / 2, ln(2) / 2].
template <class V>
QF_HD V exp_tail(V r) {
  using T = Element<V>;
  if constexpr (sizeof(T) == 8) {
    constexpr T c[] = {1.0 / 2,     1.0 / 6,      1.0 / 24,      1.0 / 120,      1.0 / 720,       1.0 / 5040,
                       1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    return polynomial(r, c);
  } else {
    constexpr T c[] = {T(1.0 / 2), T(1.0 / 6), T(1.0 / 24), T(1.0 / 120), T(1.0 / 720), T(1.0 / 5040)};
    return polynomial(r, c);
  }
}

template <class V>
QF_HD V exp(V x) {
  const Reduced<V> q = reduce(x);
  return (multiply_add(V(q.r * q.r), exp_tail(q.r), q.r) + Element<V>(1)) * q.low * q.high;
}

// e^x - 1, with full relative accuracy near 0.
template <class V>
QF_HD V expm1(V x) {
  using T = Element<V>;
  const Reduced<V> q = reduce(x);
  const V m = multiply_add(V(q.r * q.r), exp_tail(q.r), q.r);  // e^r - 1
  const V near = multiply_add(V(m * q.low), q.high, V(q.low * q.high - T(1)));
  const V far = x > T(64) ? V((m + T(1)) * q.low * q.high) : near;  // low * high may be 2^1024, which overflows where e^x does not
  return q.low * q.high == T(1) ? m : far;
}

// 2^x, in fewer operations than exp. A Chebyshev fit approximates (2^f - 1) / f on |f| <= 1/2, to 5e-9 in float and 1e-19 in double.
template <class V>
QF_HD V exp2(V x) {
  using T = Element<V>;
  constexpr bool dbl = sizeof(T) == 8;
  const auto power = [](V f) {
    if constexpr (dbl) {
      constexpr T c[] = {0x1.62e42fefa39efp-1,  0x1.ebfbdff82c58fp-3,  0x1.c6b08d704a0c6p-5,  0x1.3b2ab6fba4e79p-7,
                         0x1.5d87fe78a3f9cp-10, 0x1.430912f86b7dbp-13, 0x1.ffcbfc6da6ed1p-17, 0x1.62c02242b879cp-20,
                         0x1.b524ebd13a55fp-24, 0x1.e4cf10dec0f59p-28, 0x1.e9ec1fcb69a7fp-32, 0x1.c4a29324a1038p-36};
      return multiply_add(f, polynomial(f, c), broadcast<V>(T(1)));
    } else {
      constexpr T c[] = {T(0x1.62e430p-1), T(0x1.ebfbe0p-3), T(0x1.c6af6cp-5), T(0x1.3b2a54p-7), T(0x1.5f0890p-10), T(0x1.44138ap-13)};
      return multiply_add(f, polynomial(f, c), broadcast<V>(T(1)));
    }
  };
#if defined(__AVX512DQ__)
  if constexpr (sizeof(V) == 64 && dbl) {
    const V f =
        (V)_mm512_reduce_pd((__m512d)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);  // x minus the nearest integer; 0 at infinity
    return (V)_mm512_scalef_pd((__m512d)power(f), (__m512d)V(x - f));
  } else if constexpr (sizeof(V) == 64) {
    const V f = (V)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (V)_mm512_scalef_ps((__m512)power(f), (__m512)V(x - f));
  }
#endif
  constexpr T lowest = dbl ? T(-1021) : T(-125), highest = dbl ? T(1024) : T(128);  // below lowest: 0
  const V inside = x < lowest ? broadcast<V>(lowest) : x > highest ? broadcast<V>(highest) : x;
  const V n = (inside + kRound<T>)-kRound<T>;
  const V half = power(V(inside - n)) * power_of_two(V(n - T(1)));  // 2^1024 would overflow
  return x < lowest ? V{} : V(half + half);
}

// sine and cosine of r + q pi / 2 for |r| <= pi / 4; only the low two bits of the integer q are used.
template <class V>
QF_HD void sin_cos_of_quadrant(V r, Bits<V> q, V& sine, V& cosine) {
  using T = Element<V>;
  const V s = r * r;
  V a, b;
  const auto evaluate = [&](const auto& sine_terms, const auto& cosine_terms) {
    a = multiply_add(V(s * r), polynomial(s, sine_terms), r);
    b = multiply_add(V(s * s), polynomial(s, cosine_terms), multiply_add(s, broadcast<V>(T(-0.5)), broadcast<V>(T(1))));
  };
  if constexpr (sizeof(T) == 8) {
    constexpr T cs[] = {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
    constexpr T cc[] = {1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000};
    evaluate(cs, cc);
  } else {
    constexpr T cs[] = {T(-1.0 / 6), T(1.0 / 120), T(-1.0 / 5040), T(1.0 / 362880)};
    constexpr T cc[] = {T(1.0 / 24), T(-1.0 / 720), T(1.0 / 40320), T(-1.0 / 3628800)};
    evaluate(cs, cc);
  }
  using I = Bits<V>;
  constexpr int sign = sizeof(T) * 8 - 2;
  const I odd = -(q & 1);
  const I sa = as_bits<I>(a), sb = as_bits<I>(b);
  sine = as_bits<V>(((sb & odd) | (sa & ~odd)) ^ shift_left(I(q & 2), sign));
  cosine = as_bits<V>(((sa & odd) | (sb & ~odd)) ^ shift_left(I((q + 1) & 2), sign));
}

// sine and cosine of hi + lo for |lo| much smaller than |hi|, with an absolute error of about 2 eps up to |hi| ~ 2^30 (2^20 in float).
template <class V>
QF_HD void sin_cos(V hi, V lo, V& sine, V& cosine) {
  using T = Element<V>;
  constexpr bool dbl = sizeof(T) == 8;
  const V t = hi * T(0.63661977236758134308) + kRound<T>;  // 2 / pi
  const V n = t - kRound<T>;
  constexpr T p1 = dbl ? T(0x1.921fb54442d18p+0) : T(0x1.921fb6p+0);  // pi / 2 in three parts
  constexpr T p2 = dbl ? T(0x1.1a62633145c07p-54) : T(-0x1.777a5cp-25);
  constexpr T p3 = dbl ? T(-0x1.f1976b7ed8fbcp-110) : T(-0x1.ee59dap-50);
  V r = multiply_add_exact(n, broadcast<V>(-p1), hi);
  r = multiply_add_exact(n, broadcast<V>(-p2), V(r + lo));
  r = multiply_add_exact(n, broadcast<V>(-p3), r);
  sin_cos_of_quadrant(r, as_bits<Bits<V>>(t), sine, cosine);
}
template <class V>
QF_HD void sin_cos(V x, V& sine, V& cosine) {
  sin_cos(x, V{}, sine, cosine);
}
// sine and cosine of 2 pi (hi + lo) for |lo| much smaller than 1. Whole turns are removed exactly up to |hi| ~ 2^48 (2^19 in float). For
// larger |hi|, which itself has errors of whole turns, the results are arbitrary numbers from -1 to 1.
template <class V>
QF_HD void sin_cos_of_turns(V hi, V lo, V& sine, V& cosine) {
  using T = Element<V>;
  const V quarters = hi * T(4);
  const V t = quarters + kRound<T>;
  V r = (quarters - (t - kRound<T>)) + lo * T(4);
  r = r < T(-1) ? broadcast<V>(T(-1)) : r > T(1) ? broadcast<V>(T(1)) : r;
  sin_cos_of_quadrant(V(r * T(1.57079632679489661923)), as_bits<Bits<V>>(t), sine, cosine);
}

// 2 artanh z for |z| <= 1/3.
template <class V>
QF_HD V twice_artanh(V z) {
  using T = Element<V>;
  const V s = z * z;
  if constexpr (sizeof(T) == 8) {
    constexpr T c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13, 2.0 / 15,
                       2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23, 2.0 / 25, 2.0 / 27, 2.0 / 29};
    return multiply_add(V(s * z), polynomial(s, c), V(z + z));
  } else {
    constexpr T c[] = {T(2.0 / 3), T(2.0 / 5), T(2.0 / 7), T(2.0 / 9), T(2.0 / 11), T(2.0 / 13)};
    return multiply_add(V(s * z), polynomial(s, c), V(z + z));
  }
}

// log(1 + t) for 0 <= t <= 1.
template <class V>
QF_HD V log1p_unit(V t) {
  return twice_artanh(V(t / (t + Element<V>(2))));
}

// log x for positive normal x; NaN if x is not finite.
template <class V>
QF_HD V log(V x) {
  using T = Element<V>;
  using I = Bits<V>;
  constexpr bool dbl = sizeof(T) == 8;
  constexpr int mantissa = dbl ? 52 : 23;
  const I bits = as_bits<I>(x), lowest = as_bits<I>(broadcast<V>(T(0.70710678118654752440)));  // mantissa in [sqrt(1/2), sqrt(2))
  const I e = (bits - lowest) >> mantissa;
  const V m = as_bits<V>(bits - shift_left(e, mantissa));
  const V n = as_bits<V>(as_bits<I>(broadcast<V>(kRound<T>)) + e) - kRound<T>;
  const V of_mantissa = twice_artanh(V((m - T(1)) / (m + T(1))));
  return multiply_add(n, broadcast<V>(kLn2High<T>), multiply_add(n, broadcast<V>(kLn2Low<T>), of_mantissa)) + (x - x);
}

// The angle of a unit complex number: Hastings' polynomial (error 1e-5), then one Newton step, which cubes the error.
template <class V>
QF_HD V angle(V re, V im) {
  using T = Element<V>;
  constexpr T c[] = {T(0.9998660), T(-0.3302995), T(0.1801410), T(-0.0851330), T(0.0208351)};
  constexpr T half = T(1.57079632679489661923);
  const V x = re < T(0) ? V(-re) : re, y = im < T(0) ? V(-im) : im;
  const V r = y < x ? V(y / x) : V(x / y);
  V a = r * polynomial(V(r * r), c);
  a = y < x ? a : V(half - a);
  a = re < T(0) ? V(2 * half - a) : a;
  a = im < T(0) ? V(-a) : a;
  V sine, cosine;
  sin_cos(a, sine, cosine);
  return a + (im * cosine - re * sine);
}

// e^-|x| (NaN for NaN), and log(1 + e^x) computed from it, accurate for large and small x. There are two functions so that loops over them
// are short: only one or two iterations of a long dependency chain fit into the processor's out-of-order window.
template <class V>
QF_HD V softplus_tail(V x) {
  return exp(x < Element<V>(0) ? x : V(-x));
}
template <class V>
QF_HD V softplus(V x, V tail) {
  return (x > Element<V>(0) ? x : V{}) + log1p_unit(tail);
}
template <class V>
QF_HD V sigmoid(V x) {
  return Element<V>(1) / (exp(V(-x)) + Element<V>(1));
}

}  // namespace elementary
}  // namespace QF_ISA
}  // namespace quatrefoil
