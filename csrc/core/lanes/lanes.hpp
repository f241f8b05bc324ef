// Vectors of W numbers: GCC and Clang vector types of the machine's own width, so that a kernel body reads like scalar code. Formulas are
// templates over V, a lane type on the host and plain T in CUDA and scalar tails. Operators, comparisons and `mask ? a : b` work for both.
#pragma once
#include <type_traits>
#include <utility>

#include "core/lanes/cplx.hpp"

#if defined(QF_HAS_LANES) && defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quatrefoil {
inline namespace QF_ISA {

template <class T, int W>
struct LanesOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};
template <class T>
struct LanesOf<T, 1> {  // plain T, the only lane type on a GPU
  using type = T;
};
template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));
template <class T, int W = kLanes<T>>
using Lanes = typename LanesOf<T, W>::type;

template <class V, bool is_number = std::is_arithmetic<V>::value>
struct LaneTraits {
  using T = typename std::remove_reference<decltype(V{}[0])>::type;
  static constexpr int width = sizeof(V) / sizeof(T);
};
template <class V>
struct LaneTraits<V, true> {
  using T = V;
  static constexpr int width = 1;
};
template <class V>
struct LaneTraits<cplx<V>, false> {};  // not a lane type: excludes it from overloads for lanes
template <class V>
using Element = typename LaneTraits<V>::T;
template <class V>
constexpr int kWidth = LaneTraits<V>::width;

template <class V>
QF_HD V load(const Element<V>* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V>
QF_HD void store(Element<V>* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}
template <class V>
QF_HD V broadcast(Element<V> x) {
  return x - V{};  // compiles to one load, because x - 0 is x for every x; x + 0 would need an addition, because -0 + 0 is 0
}
// Keeps v in a register; GCC would otherwise reload it at each use. Clang would not, and has no registers for 8-byte vectors.
template <class V>
QF_HD V keep(V v) {
#if defined(QF_HAS_LANES) && defined(__x86_64__) && !defined(__clang__)
  asm("" : "+v"(v));
#endif
  return v;
}
// The first n of W numbers, zeros in the other lanes.
template <class V>
QF_HD V load_first(const Element<V>* p, int64_t n) {
  if (n >= kWidth<V>) return load<V>(p);
  V v{};
  if (n > 0) __builtin_memcpy(&v, p, std::size_t(n) * sizeof(Element<V>));
  return v;
}
template <class V>
QF_HD void store_first(Element<V>* p, V v, int64_t n) {
  if (n >= kWidth<V>)
    store(p, v);
  else if (n > 0)
    __builtin_memcpy(p, &v, std::size_t(n) * sizeof(Element<V>));
}

// Prefetches the lines of p[0, n) to L2, for writing if `write`. Aligns p down, so that the last line is included.
template <bool write = false, class T>
QF_HD void fetch([[maybe_unused]] const T* p, [[maybe_unused]] int64_t n) {
#if defined(QF_HAS_LANES)
  const char* const end = reinterpret_cast<const char*>(p + n);
  for (const char* at = reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) & ~std::uintptr_t(63)); at < end; at += 64)
    __builtin_prefetch(at, write, 2);
#endif
}

QF_HD float square_root(float x) { return __builtin_sqrtf(x); }
QF_HD double square_root(double x) { return __builtin_sqrt(x); }
#if defined(QF_HAS_LANES)
template <class V>
QF_HD V square_root(V v) {
  for (int i = 0; i < kWidth<V>; ++i) v[i] = square_root(v[i]);
  return v;
}
#endif
#if defined(__AVX512F__)
QF_HD Lanes<float, 16> square_root(Lanes<float, 16> v) { return (Lanes<float, 16>)_mm512_sqrt_ps((__m512)v); }
QF_HD Lanes<double, 8> square_root(Lanes<double, 8> v) { return (Lanes<double, 8>)_mm512_sqrt_pd((__m512d)v); }
#elif defined(__AVX2__)
QF_HD Lanes<float, 8> square_root(Lanes<float, 8> v) { return (Lanes<float, 8>)_mm256_sqrt_ps((__m256)v); }
QF_HD Lanes<double, 4> square_root(Lanes<double, 4> v) { return (Lanes<double, 4>)_mm256_sqrt_pd((__m256d)v); }
#endif

// 1 / sqrt(v), to two units in the last place if computed from the machine's estimate; v = 0 gives infinity or NaN.
template <class V>
QF_HD V inverse_root(V v) {
  return Element<V>(1) / square_root(v);
}
#if defined(__AVX512F__)
template <class V, class T>
QF_HD V improved_inverse_root(V y, V v, T) {  // one Newton step
  const V half = y * T(0.5);
  return y + half * (T(1) - v * y * y);
}
QF_HD Lanes<float, 16> inverse_root(Lanes<float, 16> v) {
  return improved_inverse_root((Lanes<float, 16>)_mm512_rsqrt14_ps((__m512)v), v, 0.0f);
}
QF_HD Lanes<double, 8> inverse_root(Lanes<double, 8> v) {
  const Lanes<double, 8> y = improved_inverse_root((Lanes<double, 8>)_mm512_rsqrt14_pd((__m512d)v), v, 0.0);
  return improved_inverse_root(y, v, 0.0);
}
#endif

// Converts the lanes to T. Uses one instruction between float and double; GCC would split the vector in two.
template <class T, class V>
QF_HD Lanes<T, kWidth<V>> converted(V v) {
  [[maybe_unused]] constexpr int W = kWidth<V>;
  if constexpr (std::is_same<T, Element<V>>::value) {
    return v;
#if defined(__AVX512F__)
  } else if constexpr (W == 8 && std::is_same<T, double>::value && std::is_same<Element<V>, float>::value) {
    return (Lanes<T, W>)_mm512_cvtps_pd((__m256)v);
  } else if constexpr (W == 8 && std::is_same<T, float>::value && std::is_same<Element<V>, double>::value) {
    return (Lanes<T, W>)_mm512_cvtpd_ps((__m512d)v);
#elif defined(__AVX2__)
  } else if constexpr (W == 4 && std::is_same<T, double>::value && std::is_same<Element<V>, float>::value) {
    return (Lanes<T, W>)_mm256_cvtps_pd((__m128)v);
  } else if constexpr (W == 4 && std::is_same<T, float>::value && std::is_same<Element<V>, double>::value) {
    return (Lanes<T, W>)_mm256_cvtpd_ps((__m256d)v);
#endif
  } else if constexpr (W == 1) {
    return T(v);
  } else {
    return __builtin_convertvector(v, Lanes<T, W>);
  }
}

// Loads and stores that convert between the type of the lanes and that of the array.
template <class V, class T>
QF_HD V load_as(const T* p) {
  if constexpr (std::is_same<T, Element<V>>::value)
    return load<V>(p);
  else
    return converted<Element<V>>(load<Lanes<T, kWidth<V>>>(p));
}
template <class T, class V>
QF_HD void store_as(T* p, V v) {
  if constexpr (std::is_same<T, Element<V>>::value)
    store(p, v);
  else
    store(p, converted<T>(v));
}

// The lower value in each lane; b if either is NaN, as in minps.
template <class V>
QF_HD V lower(V a, V b) {
  return a < b ? a : b;
}
template <class V>
QF_HD V higher(V a, V b) {
  return a > b ? a : b;
}

// Integers of the same size as the elements of V.
template <class V>
using Bits = Lanes<typename std::conditional<sizeof(Element<V>) == 8, std::int64_t, std::int32_t>::type, kWidth<V>>;
template <class To, class From>
QF_HD To as_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

// x << n, dropping the bits that overflow. C++ does not allow this for a signed scalar.
template <class I>
QF_HD I shift_left(I x, int n) {
  if constexpr (std::is_integral<I>::value)
    return I(typename std::make_unsigned<I>::type(x) << n);
  else
    return x << n;
}

QF_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
QF_HD double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }

// a b + c, rounded once if the machine has fused multiply-adds. Explicit, because GCC contracts some loops and not others.
template <class V>
QF_HD V multiply_add(V a, V b, V c) {
#if !defined(QF_HAS_LANES)
  return fma(a, b, c);
#elif defined(__FMA__)
  using T = Element<V>;
  constexpr int W = kWidth<V>;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(T) == 8) return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
  if constexpr (sizeof(V) == 64 && sizeof(T) == 4) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
  if constexpr (sizeof(V) > kVectorBytes) {
    Lanes<T, W / 2> x[2], y[2], z[2];
    __builtin_memcpy(x, &a, sizeof(V)), __builtin_memcpy(y, &b, sizeof(V)), __builtin_memcpy(z, &c, sizeof(V));
    for (int h = 0; h < 2; ++h) z[h] = multiply_add(x[h], y[h], z[h]);
    __builtin_memcpy(&c, z, sizeof(V));
    return c;
  } else if constexpr (sizeof(V) == 32 && sizeof(T) == 8) {
    return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
  } else if constexpr (sizeof(V) == 32) {
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  } else if constexpr (sizeof(V) == 16 && sizeof(T) == 8) {
    return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c);
  } else if constexpr (sizeof(V) == 16) {
    return (V)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
  } else if constexpr (W == 1) {
    return fma(a, b, c);
  } else {
    for (int i = 0; i < W; ++i) c[i] = fma(a[i], b[i], c[i]);
    return c;
  }
#else
  return a * b + c;
#endif
}
// Two dependent multiply-adds for each part, written explicitly so that vectors and scalars give the same bits.
template <class V>
QF_HD cplx<V> multiply_add(cplx<V> a, cplx<V> b, cplx<V> c) {
  return {multiply_add(a.re, b.re, multiply_add(V(-a.im), b.im, c.re)), multiply_add(a.re, b.im, multiply_add(a.im, b.re, c.im))};
}
// a b + c, rounded once on every machine, in software if necessary.
template <class V>
QF_HD V multiply_add_exact(V a, V b, V c) {
#if defined(__FMA__) || !defined(QF_HAS_LANES)
  return multiply_add(a, b, c);
#else
  if constexpr (kWidth<V> == 1)
    return fma(a, b, c);
  else
    for (int i = 0; i < kWidth<V>; ++i) c[i] = fma(a[i], b[i], c[i]);
  return c;
#endif
}

// Reduces all lanes with f: halves the vector repeatedly, in a fixed order.
template <class V, class F>
QF_HD Element<V> folded(V v, F f) {
  Element<V> s[kWidth<V>];
  store(s, v);
  for (int half = kWidth<V> / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) s[i] = f(s[i], s[i + half]);
  return s[0];
}
template <class V>
QF_HD Element<V> sum(V v) {
  return folded(v, [](Element<V> a, Element<V> b) { return a + b; });
}
template <class V>
QF_HD Element<V> largest(V v) {
  return folded(v, [](Element<V> a, Element<V> b) { return max(a, b); });
}
template <class V>
QF_HD Element<V> smallest(V v) {
  return folded(v, [](Element<V> a, Element<V> b) { return min(a, b); });
}
#if defined(__AVX512F__)
QF_HD float smallest(Lanes<float, 16> v) { return _mm512_reduce_min_ps((__m512)v); }
QF_HD double smallest(Lanes<double, 8> v) { return _mm512_reduce_min_pd((__m512d)v); }
#endif

// The first n lanes of v, zeros in the others.
template <class V>
QF_HD V keep_first(V v, int64_t n) {
  if constexpr (kWidth<V> == 1) {
    return n > 0 ? v : V{};
  } else {
    Bits<V> lane{};
    for (int i = 0; i < kWidth<V>; ++i) lane[i] = i;
    return lane < Element<Bits<V>>(n) ? v : V{};
  }
}

template <class I>
QF_HD I gather(const Element<I>* base, I index) {
  if constexpr (kWidth<I> == 1) {
    return base[index];
  } else {
    I v{};
    for (int i = 0; i < kWidth<I>; ++i) v[i] = base[index[i]];
    return v;
  }
}
#if defined(__AVX512F__)
QF_HD Lanes<std::int32_t, 16> gather(const std::int32_t* base, Lanes<std::int32_t, 16> index) {
  return (Lanes<std::int32_t, 16>)_mm512_i32gather_epi32((__m512i)index, base, 4);
}
QF_HD Lanes<int64_t, 8> gather(const int64_t* base, Lanes<int64_t, 8> index) {
  return (Lanes<int64_t, 8>)_mm512_i64gather_epi64((__m512i)index, base, 8);
}
#elif defined(__AVX2__)
QF_HD Lanes<std::int32_t, 8> gather(const std::int32_t* base, Lanes<std::int32_t, 8> index) {
  return (Lanes<std::int32_t, 8>)_mm256_i32gather_epi32(base, (__m256i)index, 4);
}
#endif

// Packs a lane mask into an integer: bit i is lane i.
template <class I>
QF_HD unsigned bits(I mask) {
  if constexpr (kWidth<I> == 1) {
    return unsigned(mask & 1);
  } else {
    unsigned set = 0;
    for (int i = 0; i < kWidth<I>; ++i) set |= unsigned(mask[i] & 1) << i;
    return set;
  }
}
#if defined(__AVX512F__)
QF_HD unsigned bits(Lanes<std::int32_t, 16> mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask); }
QF_HD unsigned bits(Lanes<int64_t, 8> mask) { return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask); }
QF_HD unsigned bits(Lanes<std::int32_t, 8> mask) { return unsigned(_mm256_movemask_ps((__m256)mask)); }
#elif defined(__AVX2__)
QF_HD unsigned bits(Lanes<std::int32_t, 8> mask) { return unsigned(_mm256_movemask_ps((__m256)mask)); }
QF_HD unsigned bits(Lanes<int64_t, 4> mask) { return unsigned(_mm256_movemask_pd((__m256d)mask)); }
#endif

}  // namespace QF_ISA
}  // namespace quatrefoil
