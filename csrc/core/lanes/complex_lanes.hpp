// Real or complex numbers side by side: a kernel that is written for packs serves both. A pack of complex numbers keeps real and imaginary
// parts in registers of their own.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/lanes/lanes.hpp"
#if defined(QF_HAS_LANES)
#include "core/lanes/shuffles.hpp"
#endif

namespace quatrefoil {
inline namespace QF_ISA {

template <class E>
struct PartOf {
  using type = E;
};
template <class T>
struct PartOf<cplx<T>> {
  using type = T;
};
template <class E>
using Part = typename PartOf<E>::type;
template <class E>
constexpr int kParts = sizeof(E) / sizeof(Part<E>);

template <class E, class V>
using Pack = typename std::conditional<kParts<E> == 1, V, cplx<V>>::type;

template <bool conj, class P>
QF_HD P maybe_conjugate(P x) {
  if constexpr (conj)
    return conjugate(x);
  else
    return x;
}

template <class E, class V>
QF_HD Pack<E, V> load_pack(const E* from) {
  if constexpr (kParts<E> == 1) {
    return load<V>(from);
  } else if constexpr (kWidth<V> == 1) {
    return *from;
#if defined(QF_HAS_LANES)
  } else {
    constexpr auto all = std::make_integer_sequence<int, kWidth<V>>{};
    const Part<E>* const at = reinterpret_cast<const Part<E>*>(from);
    const V low = load<V>(at), high = load<V>(at + kWidth<V>);
    return {every_second<0>(low, high, all), every_second<1>(low, high, all)};
#endif
  }
}
template <class E, class V>
QF_HD void store_pack(E* to, Pack<E, V> x) {
  if constexpr (kParts<E> == 1) {
    store<V>(to, x);
  } else if constexpr (kWidth<V> == 1) {
    *to = x;
#if defined(QF_HAS_LANES)
  } else {
    constexpr auto all = std::make_integer_sequence<int, kWidth<V>>{};
    Part<E>* const at = reinterpret_cast<Part<E>*>(to);
    store(at, alternate<0>(x.re, x.im, all));
    store(at + kWidth<V>, alternate<kWidth<V> / 2>(x.re, x.im, all));
#endif
  }
}
template <class E, class V>
QF_HD Pack<E, V> spread(E x) {
  if constexpr (kParts<E> == 1)
    return broadcast<V>(x);
  else
    return {broadcast<V>(x.re), broadcast<V>(x.im)};
}
// f(i) in lane i.
template <class E, class V, class F>
QF_HD Pack<E, V> gather(F&& f) {
#if defined(QF_HAS_LANES)
  Pack<E, V> x{};
  for (int i = 0; i < kWidth<V>; ++i) {
    if constexpr (kParts<E> == 1)
      x[i] = f(i);
    else
      x.re[i] = f(i).re, x.im[i] = f(i).im;
  }
  return x;
#else
  return f(0);
#endif
}
// One step of a transposed square: one register, or that of the imaginary parts behind that of the real ones.
template <class E, class V>
QF_HD Pack<E, V> column(const V* square) {
  if constexpr (kParts<E> == 1)
    return square[0];
  else
    return {square[0], square[1]};
}
template <class E, class V>
QF_HD void set_column(V* square, Pack<E, V> x) {
  if constexpr (kParts<E> == 1)
    square[0] = x;
  else
    square[0] = x.re, square[1] = x.im;
}

}  // namespace QF_ISA
}  // namespace quatrefoil
