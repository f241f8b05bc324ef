// Complex numbers in lanes: real and imaginary parts in separate registers, whatever their layout in memory. Also defines packs, which are
// vectors of real or complex numbers, for kernels that support both.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/lanes/lanes.hpp"
#if defined(QF_HAS_LANES)
#include "core/lanes/shuffles.hpp"
#endif

namespace quatrefoil {
inline namespace QF_ISA {

// W complex numbers, stored as two arrays, or in one array as W real parts followed by W imaginary parts. The precision of the arrays may
// differ from that of V.
template <class V, class T>
QF_HD cplx<V> load_complex(const T* re, const T* im) {
  return {load_as<V>(re), load_as<V>(im)};
}
template <class V, class T>
QF_HD cplx<V> load_complex(const T* from) {
  return load_complex<V>(from, from + kWidth<V>);
}
template <class T, class V>
QF_HD void store_complex(T* re, T* im, cplx<V> z) {
  store_as(re, z.re);
  store_as(im, z.im);
}
template <class T, class V>
QF_HD void store_complex(T* to, cplx<V> z) {
  store_complex(to, to + kWidth<V>, z);
}

// The first n of W interleaved numbers of any precision, zeros in the other lanes.
template <class V, class T>
QF_HD cplx<V> load_first(const cplx<T>* from, int64_t n) {
  using S = Element<V>;
  constexpr int W = kWidth<V>;
  S re[W] = {}, im[W] = {};
  if (n >= W) {
    for (int i = 0; i < W; ++i) re[i] = S(from[i].re), im[i] = S(from[i].im);
  } else {
    for (int i = 0; i < n; ++i) re[i] = S(from[i].re), im[i] = S(from[i].im);
  }
  return {load<V>(re), load<V>(im)};
}
template <class V, class T>
QF_HD void set_lane(V& x, int i, T value) {
  if constexpr (kWidth<V> == 1)
    (void)i, x = value;
  else
    x[i] = value;
}
template <class V, class T>
QF_HD void set_lane(cplx<V>& x, int i, cplx<T> value) {
  set_lane(x.re, i, value.re);
  set_lane(x.im, i, value.im);
}
template <class V>
QF_HD Element<V> lane(V x, int i) {
  if constexpr (kWidth<V> == 1)
    return (void)i, x;
  else
    return x[i];
}
template <class V>
QF_HD cplx<Element<V>> lane(cplx<V> x, int i) {
  return {lane(x.re, i), lane(x.im, i)};
}

template <class T, class V>
QF_HD void store_first(cplx<T>* to, cplx<V> x, int64_t n) {
  for (int i = 0; i < kWidth<V> && i < n; ++i) to[i] = {T(lane(x.re, i)), T(lane(x.im, i))};
}

template <class V, class T>
QF_HD cplx<V> broadcast(cplx<T> x) {
  return {broadcast<V>(Element<V>(x.re)), broadcast<V>(Element<V>(x.im))};
}
template <class V>
QF_HD cplx<Element<V>> sum(cplx<V> x) {
  return {sum(x.re), sum(x.im)};
}

// ---- packs

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
// A pack with f(i) in lane i.
template <class E, class V, class F>
QF_HD Pack<E, V> gather(F&& f) {
#if defined(QF_HAS_LANES)
  Pack<E, V> x{};
  for (int i = 0; i < kWidth<V>; ++i) set_lane(x, i, f(i));
  return x;
#else
  return f(0);
#endif
}
// One row of a transposed square: one register, or two for the real and the imaginary parts.
template <class E, class V>
QF_HD Pack<E, V> column(const V* tile) {
  if constexpr (kParts<E> == 1)
    return tile[0];
  else
    return {tile[0], tile[1]};
}
template <class E, class V>
QF_HD void set_column(V* tile, Pack<E, V> x) {
  if constexpr (kParts<E> == 1)
    tile[0] = x;
  else
    tile[0] = x.re, tile[1] = x.im;
}

}  // namespace QF_ISA
}  // namespace quatrefoil
