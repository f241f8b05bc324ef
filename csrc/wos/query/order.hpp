// Sorts points along a Z curve, so that a point's closest triangle is a good guess for the next point.
#pragma once
#include "core/run/memory.hpp"

namespace quatrefoil::wos::query {
inline namespace QF_ISA {

// Moves bit k of x (10 bits) to bit 3 k.
QF_HD std::uint32_t spread(std::uint32_t x) {
  x = (x | x << 16) & 0x030000FFu;
  x = (x | x << 8) & 0x0300F00Fu;
  x = (x | x << 4) & 0x030C30C3u;
  return (x | x << 2) & 0x09249249u;
}
QF_HD std::uint64_t position_on_curve(const double (&x)[3]) {  // clamps x to the cube [-1, 1]^3
  std::uint32_t code = 0;
  for (int j = 0; j < 3; ++j) {
    const double at = (x[j] + 1) * 512;
    code |= spread(std::uint32_t(at > 0 ? min(at, 1023.0) : 0)) << j;
  }
  return code;
}

// Sorts n keys by position. The upper 32 bits are the position on the curve, the lower 32 bits an index. Returns `spare`, sorted.
inline std::uint64_t* sort_by_position(std::uint64_t* keys, std::uint64_t* spare, int64_t n) {
  constexpr int kDigit = 10;
  for (int pass = 0; pass < 3; ++pass) {
    const int shift = 32 + kDigit * pass;
    int64_t at[(1 << kDigit) + 1] = {};
    for (int64_t i = 0; i < n; ++i) ++at[((keys[i] >> shift) & ((1 << kDigit) - 1)) + 1];
    for (int k = 0; k < 1 << kDigit; ++k) at[k + 1] += at[k];
    for (int64_t i = 0; i < n; ++i) spare[at[(keys[i] >> shift) & ((1 << kDigit) - 1)]++] = keys[i];
    std::uint64_t* const t = keys;
    keys = spare;
    spare = t;
  }
  return keys;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::query
