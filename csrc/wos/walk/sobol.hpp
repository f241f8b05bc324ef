// The words of many walks' first steps with Sobol' points. README (30).
#pragma once
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

struct SobolNumbers {
  uint32_t of_bit[32][8];  // the direction numbers of one bit of an index, and 0
  constexpr SobolNumbers() : of_bit() {
    for (int bit = 0; bit < 32; ++bit)
      for (int i = 0; i < kSobolWords; ++i) of_bit[bit][i] = sobol_word(i, 1u << bit);
  }
};
constexpr SobolNumbers kSobolNumbers;

// `first_words`, and the three words of `put_sobol_source`, for walks of one instance. Consecutive walks of a point differ by one direction
// number in each dimension.
template <int D>
class SobolWords {
 public:
  // Writes the words of a walk, `row` elements apart; those of the source point only if `sources`.
  [[gnu::noinline]] void put(const Random<uint32_t>& random, bool pairs, bool sources, uint32_t* to, int64_t row) {
    if (int64_t(random.point) != point_) shift(random, pairs, sources);
    const uint32_t code = gray_code(pairs ? random.walk >> 1 : random.walk);
    for (uint32_t changed = code ^ code_; changed; changed &= changed - 1)
      sobol_ ^= load<Lanes<uint32_t, 8>>(kSobolNumbers.of_bit[__builtin_ctz(changed)]);
    code_ = code;
    const Lanes<uint32_t, 8> words = sobol_ ^ shifts_[pairs && random.walk % 2];
    for (int i = 0; i < 4; ++i) to[i * row] = words[i];
    for (int i = 4; sources && i < kSobolWords; ++i) to[i * row] = words[i];
  }

 private:
  // Draws the shifts of a point.
  void shift(Random<uint32_t> random, bool pairs, bool sources) {
    uint32_t words[4], of_source[4] = {};
    point_ = random.point;
    random.walk = 0;
    if (sources) random.words(kShiftStream + kSourceStream, of_source);
    for (; random.walk <= pairs; ++random.walk) {
      paired_words<D>(random, pairs, 0, kShiftStream, words);
      for (int i = 0; i < kSobolWords; ++i) shifts_[random.walk][i] = i < 4 ? words[i] : of_source[i - 4];
    }
  }

  int64_t point_ = -1;
  uint32_t code_ = 0;
  Lanes<uint32_t, 8> sobol_{}, shifts_[2]{};
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
