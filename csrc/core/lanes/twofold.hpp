// Unevaluated sums of two numbers: the second is the rounding error of the first, which doubles the number of digits.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

template <class V>
struct Twofold {
  V hi, lo;
};

// a b, rounded. Never contracted: a GPU compiler would otherwise contract a product into an fma even if its value is also used elsewhere.
template <class V>
QF_HD V rounded_product(V a, V b) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(V) == 4)
    return __fmul_rn(a, b);
  else
    return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
template <class V>
QF_HD Twofold<V> product(V a, Twofold<V> b) {
  const V hi = rounded_product(a, b.hi);
  return {hi, multiply_add_exact(a, b.hi, V(-hi)) + a * b.lo};
}
template <class V>
QF_HD Twofold<V> product(Twofold<V> a, Twofold<V> b) {
  const V hi = rounded_product(a.hi, b.hi);
  return {hi, multiply_add_exact(a.hi, b.hi, V(-hi)) + (a.hi * b.lo + a.lo * b.hi)};
}
template <class V>
QF_HD Twofold<V> square(Twofold<V> a) {
  const V hi = rounded_product(a.hi, a.hi);
  return {hi, multiply_add_exact(a.hi, a.hi, V(-hi)) + 2 * (a.hi * a.lo)};
}
template <class V>
QF_HD Twofold<V> difference(Twofold<V> a, Twofold<V> b) {
  const V s = a.hi - b.hi, t = s - a.hi;
  const V lo = ((a.hi - (s - t)) - (b.hi + t)) + (a.lo - b.lo), hi = s + lo;
  return {hi, lo - (hi - s)};
}
template <class V>
QF_HD Twofold<V> sum(Twofold<V> a, Twofold<V> b) {
  return difference(a, Twofold<V>{-b.hi, -b.lo});
}

}  // namespace QF_ISA
}  // namespace quatrefoil
