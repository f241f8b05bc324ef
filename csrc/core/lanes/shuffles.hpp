// Shuffles between the lanes of registers: transpositions, sums over lanes, separation of even- and odd-indexed elements.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// If bit m of j is 0, lane j of `low` is a[j] and lane j of `high` is a[j + m]; otherwise they are b[j - m] and b[j].
template <int m, class V, int... j>
QF_HD void exchange(V& a, V& b, std::integer_sequence<int, j...>) {
  V low = __builtin_shufflevector(a, b, (j & m ? kWidth<V> + j - m : j)...);
  V high = __builtin_shufflevector(a, b, (j & m ? kWidth<V> + j : j + m)...);
  a = low;
  b = high;
}
// Transposes the W x W tile whose row i is r[i]: W log2 W shuffles, all in registers.
template <int m = 1, class V>
QF_HD void transpose(V* r) {
  constexpr int W = kWidth<V>;
  if constexpr (m < W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      if (!(i & m)) exchange<m>(r[i], r[i + m], std::make_integer_sequence<int, W>{});
    transpose<2 * m>(r);
  }
}

// Sums over pairs of lanes m apart: lane j is a[j] + a[j + m] if bit m of j is 0, otherwise b[j - m] + b[j].
template <int m, class V, int... j>
QF_HD V add_pairs(V a, V b, std::integer_sequence<int, j...>) {
  const V same = __builtin_shufflevector(a, b, (j & m ? kWidth<V> + j : j)...);  // a blend: only `moved` needs the shuffle unit
  const V moved = __builtin_shufflevector(a, b, (j & m ? kWidth<V> + j - m : j + m)...);
  return same + moved;
}
// Lane i of the result is the sum of the lanes of r[i], as a tree of W - 1 additions.
template <int m = 1, class V>
QF_HD V sum_each(V* r) {
  constexpr int W = kWidth<V>;
  if constexpr (m == W) {
    return r[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < W; i += 2 * m) r[i] = add_pairs<m>(r[i], r[i + m], std::make_integer_sequence<int, W>{});
    return sum_each<2 * m>(r);
  }
}

// The even elements of two registers if offset is 0, the odd elements if it is 1.
template <int offset, class V, int... i>
QF_HD V every_second(V low, V high, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(low, high, (2 * i + offset)...);
}
// Alternating elements of a and b, starting at the offset.
template <int offset, class V, int... i>
QF_HD V alternate(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (offset + i / 2 + (i % 2) * kWidth<V>)...);
}

// Stores the lanes whose bits in `chosen` are set, without gaps. Writes W elements in all.
template <class V>
QF_HD void compress(V v, unsigned chosen, Element<V>* to) {
  Element<V> s[kWidth<V>];
  store(s, v);
  for (int i = 0, count = 0; i < kWidth<V>; ++i) {
    to[count] = s[i];
    count += chosen >> i & 1;
  }
}
#if defined(__AVX512F__)
QF_HD void compress(Lanes<float, 16> v, unsigned chosen, float* to) {
  store(to, (Lanes<float, 16>)_mm512_maskz_compress_ps(__mmask16(chosen), (__m512)v));
}
QF_HD void compress(Lanes<double, 8> v, unsigned chosen, double* to) {
  store(to, (Lanes<double, 8>)_mm512_maskz_compress_pd(__mmask8(chosen), (__m512d)v));
}
#endif

}  // namespace QF_ISA
}  // namespace quatrefoil
