// Philox4x32-10 (Salmon et al. 2011): four random words per (counter, key), for one counter or W of them.
#pragma once
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

using std::uint32_t;
using std::uint64_t;

// The two halves of the 64-bit product of every lane with m.
QF_HD void multiply_wide(uint32_t a, uint32_t m, uint32_t& high, uint32_t& low) {
  const uint64_t product = uint64_t(a) * m;
  high = uint32_t(product >> 32);
  low = uint32_t(product);
}

#if defined(QF_HAS_LANES)
#if defined(__x86_64__)
// The 64-bit products of the even lanes: one pmuludq.
#if defined(__AVX512F__)
QF_HD Lanes<uint64_t, 8> multiply_even(Lanes<uint64_t, 8> a, Lanes<uint64_t, 8> b) {
  return (Lanes<uint64_t, 8>)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
#endif
#if defined(__AVX2__)
QF_HD Lanes<uint64_t, 4> multiply_even(Lanes<uint64_t, 4> a, Lanes<uint64_t, 4> b) {
  return (Lanes<uint64_t, 4>)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
#endif
QF_HD Lanes<uint64_t, 2> multiply_even(Lanes<uint64_t, 2> a, Lanes<uint64_t, 2> b) {
  return (Lanes<uint64_t, 2>)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
#else
template <class D>
QF_HD D multiply_even(D a, D b) {
  return (a & 0xffffffffu) * (b & 0xffffffffu);
}
#endif

template <class U>
QF_HD void multiply_wide(U a, uint32_t m, U& high, U& low) {
  if constexpr (kWidth<U> < 4) {  // shorter than any register
    for (int i = 0; i < kWidth<U>; ++i) {
      uint32_t h, l;
      multiply_wide(uint32_t(a[i]), m, h, l);
      high[i] = h;
      low[i] = l;
    }
  } else {
    using D = Lanes<uint64_t, kWidth<U> / 2>;
    const D factor = D{} + m, upper = D{} + 0xffffffff00000000u;
    const D even = multiply_even((D)a, factor), odd = multiply_even((D)a >> 32, factor);
    high = (U)((even >> 32) | (odd & upper));
    low = (U)((even & ~upper) | (odd << 32));
  }
}
#endif

// U: uint32_t or lanes of it. c: the counter, replaced by the four random words.
template <class U>
QF_HD void philox(U (&c)[4], uint32_t key0, uint32_t key1) {
  QF_UNROLL(10)
  for (int round = 0; round < 10; ++round) {
    U high0, low0, high1, low1;
    multiply_wide(c[0], 0xD2511F53u, high0, low0);
    multiply_wide(c[2], 0xCD9E8D57u, high1, low1);
    c[0] = high1 ^ c[1] ^ key0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
    key0 += 0x9E3779B9u;  // the golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil
