// The mathematics of Walk on Spheres. Equation numbers refer to README.md. No libm calls, so a lane's result depends on that lane alone.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/lanes/lanes.hpp"
#include "core/lanes/philox.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Counter word 0: stream (4 bits), trial (8), block (20).
constexpr uint32_t kSourceStream = 1u << 28, kRouletteStream = 3u << 28, kFirstStream = 4u << 28;
constexpr uint32_t kSourceDirectionStream = 2u << 28;  // in more than three dimensions
constexpr uint32_t kShiftStream = 5u << 28;            // stream 5 + s shifts the Sobol' points that replace words of stream s
constexpr uint32_t kTrial = 1u << 20;
constexpr uint32_t kCutOff = 1u << 31, kEscaped = 1u << 30;  // flags in a walk's mark, next to its number of steps
constexpr double kShrunk = 0.99;        // factor of a pair's first radius that keeps both end points inside: README (13)
constexpr double kMaxScreening = 2;     // largest R sqrt(screening) of a ball: README (9)
constexpr double kLightWeight = 0.125;  // below this weight a walk may end, README (14)

// The first ball of a walk of a pair (13). With u the value of the remaining walk, and s = |G| f at the first source point,
//   value = along u + source s,   gradient in scaled coordinates = outward u + toward s.
template <class V, int D>
struct First {
  V along, source, outward[D], toward[D];
};

// One random word for each of the W walks in V.
template <class V>
using Words = Lanes<uint32_t, kWidth<V>>;

// The random words of walks: Philox's counter without its first word, and its key. U: uint32_t, or lanes of uint32_t.
template <class U>
struct Random {
  U walk, point, instance;
  uint32_t key0, key1;

  QF_HD void words(U counter, U (&to)[4]) const {
    to[0] = counter, to[1] = walk, to[2] = point, to[3] = instance;
    philox(to, key0, key1);
  }
};

constexpr int kSobolWords = 7;  // words replaced by Sobol' points: four of the first block of steps, three of the first source point

QF_HD constexpr uint32_t gray_code(uint32_t index) { return index ^ index >> 1; }

// (30) Dimension i of the Sobol' sequence: the XOR of the direction numbers of a Gray code's set bits.
QF_HD constexpr uint32_t sobol_word(int i, uint32_t code) {
  // Primitive polynomials without their leading coefficients, and initial numbers, from Joe and Kuo (2008). Dimension 0 has no polynomial.
  constexpr int degrees[kSobolWords] = {1, 1, 2, 3, 3, 4, 4};
  constexpr uint32_t polynomials[kSobolWords] = {0, 1, 3, 3, 5, 3, 9};
  constexpr uint32_t initial[kSobolWords][4] = {{1}, {1}, {1, 3}, {1, 3, 1}, {1, 1, 1}, {1, 1, 3, 3}, {1, 3, 5, 13}};
  const int degree = degrees[i];
  uint32_t v[32] = {}, word = 0;
  for (int bit = 0; bit < 32 && code >> bit; ++bit) {
    v[bit] = bit < degree ? initial[i][bit] << (31 - bit) : v[bit - degree] >> degree;
    for (int j = 1; j <= degree && bit >= degree; ++j) v[bit] ^= polynomials[i] >> (degree - j) & 1 ? v[bit - j] : 0;
    word ^= code >> bit & 1 ? v[bit] : 0;
  }
  return word;
}

// The words of a stream's first block. In a pair (13) both walks have the same D - 1 words for their first step.
template <int D>
QF_HD void paired_words(const Random<uint32_t>& random, bool pairs, uint32_t pair, uint32_t stream, uint32_t (&words)[4]) {
  random.words(stream, words);
  if (!pairs) return;
  Random<uint32_t> shared = random;
  uint32_t first[4];
  shared.walk = pair;
  shared.words(stream + kFirstStream, first);
  for (int i = 0; i < D - 1; ++i) words[i] = first[i];
}

// The words of a walk's first steps, block 0 of stream 0. With `sobol` they are a shifted point of the Sobol' sequence (30).
template <int D>
QF_HD void first_words(const Random<uint32_t>& random, bool pairs, bool sobol, uint32_t (&words)[4]) {
  const uint32_t index = pairs ? random.walk >> 1 : random.walk;
  Random<uint32_t> shift = random;
  shift.walk = pairs ? random.walk & 1 : 0;
  if (!sobol) return paired_words<D>(random, pairs, index, 0, words);
  paired_words<D>(shift, pairs, 0, kShiftStream, words);
  for (int i = 0; i < 4; ++i) words[i] ^= sobol_word(i, gray_code(index));
}

// The number of a source point's words: D for its radius, D - 1 for its direction. Then the word that Sobol' dimension 4 + i replaces.
QF_HD constexpr int source_words(int D) { return 2 * D - 1; }
QF_HD constexpr int sobol_source_word(int D, int i) { return (D + i) % source_words(D); }

// (30) Replaces three words of the source point in a walk's first ball. random.walk: the index of the walk or of its pair.
template <int D>
QF_HD void put_sobol_source(const Random<uint32_t>& random, uint32_t (&words)[source_words(D)]) {
  Random<uint32_t> zero = random;
  uint32_t shift[4];
  zero.walk = 0;
  zero.words(kShiftStream + kSourceStream, shift);
  for (int i = 0; i < kSobolWords - 4; ++i) words[sobol_source_word(D, i)] = shift[i] ^ sobol_word(4 + i, gray_code(random.walk));
}

template <class V>
QF_HD V real(Lanes<std::int32_t, kWidth<V>> i) {
  return converted<Element<V>>(i);
}

// Maps words to (0, 1). In float64 distinct words give distinct values; in float32 256 or 512 words share one.
template <class V>
QF_HD V uniform(Words<V> word) {
  using S = Lanes<std::int32_t, kWidth<V>>;
  if constexpr (sizeof(Element<V>) == 4)
    return lower(V(real<V>((S)(word >> 8)) * 0x1p-24f + 0x1p-25f), broadcast<V>(0x1.fffffep-1f));
  else
    return real<V>((S)(word ^ 0x80000000u)) * 0x1p-32 + (0.5 + 0x1p-33);
}

// sin and cos of word / 2^32 turns. Subtracts the nearest quarter turn exactly and uses polynomials on the rest, +-1/8 turn (Cephes).
template <class V>
QF_HD void sincos_turn(Words<V> word, V& sine, V& cosine) {
  using T = Element<V>;
  using S = Lanes<std::int32_t, kWidth<V>>;
  using I = Bits<V>;
  const Words<V> quarter = (word + 0x20000000u) >> 30;
  const V x = real<V>((S)(word - (quarter << 30))) * T(0x1p-30 * 1.57079632679489661923);
  const V z = x * x;
  V s, c;
  if constexpr (sizeof(T) == 4) {
    s = ((z * -1.9515295891e-4f + 8.3321608736e-3f) * z - 1.6666654611e-1f) * (z * x) + x;
    c = (((z * 2.443315711809948e-5f - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z - 0.5f) * z + 1.0f;
  } else {
    s = (((((z * 1.58962301576546568060e-10 - 2.50507477628578072866e-8) * z + 2.75573136213857245213e-6) * z - 1.98412698295895385996e-4) *
              z +
          8.33333333332211858878e-3) *
             z -
         1.66666666666666307295e-1) *
            (z * x) +
        x;
    c = ((((((z * -1.13585365213876817300e-11 + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7) * z +
            2.48015872888517045348e-5) *
               z -
           1.38888888888730564116e-3) *
              z +
          4.16666666666665929218e-2) *
             z -
         0.5) *
            z +
        1.0;
  }
  const I quadrant = converted<Element<I>>((S)quarter);
  const V swapped_s = (quadrant & 1) != 0 ? c : s, swapped_c = (quadrant & 1) != 0 ? s : c;
  sine = (quadrant & 2) != 0 ? -swapped_s : swapped_s;
  cosine = ((quadrant + 1) & 2) != 0 ? -swapped_c : swapped_c;
}

// (3) |G| / R^2: 1/4 for the disc, 1/6 for the ball.
QF_HD constexpr double green_mass(int dimension) { return 1.0 / (2 * dimension); }

// (4a) Radius of the source point in the unit disc: density 4 r ln(1/r).
template <class V>
QF_HD V source_radius_disc(V u1, V u2) {
  return square_root(u1 * u2);
}

// (4b) Radius of the source point in the unit ball: density 6 r (1 - r), the median of three uniforms.
template <class V>
QF_HD V source_radius_ball(V u1, V u2, V u3) {
  const V low = lower(u1, u2), high = higher(u1, u2);
  return higher(low, lower(high, u3));
}

// A uniform direction.
template <class V>
QF_HD void direction(Words<V> word, Words<V>, V (&n)[2]) {
  sincos_turn<V>(word, n[1], n[0]);
}
template <class V>
QF_HD void direction(Words<V> word, Words<V> height, V (&n)[3]) {
  const V z = uniform<V>(height) * Element<V>(2) - Element<V>(1);
  const V rho = square_root(higher(Element<V>(1) - z * z, V{}));
  V s, c;
  sincos_turn<V>(word, s, c);
  n[0] = rho * c, n[1] = rho * s, n[2] = z;
}

template <int D, class V>
QF_HD void draw_source_words(const Random<Words<V>>& random, Words<V> step, Words<V> (&words)[source_words(D)]) {
  Words<V> a[4], b[4];
  random.words(step | kSourceStream, a);
  if constexpr (D == 3) random.words(step | (kSourceStream + kTrial), b);
  for (int i = 0; i < source_words(D); ++i) words[i] = i < 3 ? a[i] : b[i - 3];
}

// A source point in the unit ball: its radius s, its direction and, in the plane, -log s if requested.
template <bool with_logarithm, class V, int D>
QF_HD V source_point(const Words<V> (&words)[source_words(D)], V (&n)[D], V& logarithm) {
  const V u1 = uniform<V>(words[0]), u2 = uniform<V>(words[1]);
  direction<V>(words[D], words[2 * D - 2], n);
  if constexpr (D == 2) {
    if (with_logarithm) logarithm = elementary::log(V(u1 * u2)) * Element<V>(-0.5);
    return source_radius_disc(u1, u2);
  } else {
    return source_radius_ball(u1, u2, uniform<V>(words[2]));
  }
}
template <bool with_logarithm, class V, int D>
QF_HD V source_point(const Random<Words<V>>& random, Words<V> step, V (&n)[D], V& logarithm) {
  Words<V> words[source_words(D)];
  draw_source_words<D, V>(random, step, words);
  return source_point<with_logarithm>(words, n, logarithm);
}

// (9) sum_k q^k / (k! (nu + 1) ... (nu + k)), nu = half / 2, for 0 <= q <= 1.
template <int half, class V>
QF_HD V bessel_series(V q) {
  using T = Element<V>;
  constexpr int terms = sizeof(T) == 4 ? 7 : 12;
  V sum = broadcast<V>(T(1));
  for (int k = terms; k >= 1; --k) sum = sum * (q * T(1 / (k * (0.5 * half + k)))) + T(1);
  return sum;
}

// (11), (15) sum_k (H_k + H_(k + shift)) q^k / (k! (k + shift)!) / 2, H the harmonic numbers; shift 0 or 1.
template <int shift, class V>
QF_HD V harmonic_series(V q) {
  using T = Element<V>;
  constexpr int terms = sizeof(T) == 4 ? 7 : 12;
  V sum{}, power = broadcast<V>(T(1));
  double h = 0, coefficient = 1;
  for (int k = 0; k <= terms; ++k) {
    if (k > 0) h += 1.0 / k, coefficient /= double(k) * (k + shift), power = power * q;
    sum += power * T(coefficient * (h + (shift ? 0.5 / (k + 1) : 0.0)));
  }
  return sum;
}

// The weights of a source point at r = s R, relative to Laplace's equation: README (10) to (15).
template <class V>
struct SourceWeight {
  V value;     // G_screened(r) / G(r)
  V gradient;  // R |grad G_screened| / G(r), along the direction of the source point
};

// In a disc; L = -ln s, z = R sqrt(screening) <= 2.
template <class V>
QF_HD SourceWeight<V> source_weight_disc(V s, V L, V z2) {
  using T = Element<V>;
  const V q = z2 * T(0.25), qs = q * s * s;
  const V i0 = bessel_series<0>(qs), i1 = bessel_series<2>(qs), i1_end = bessel_series<2>(q);
  const V a = harmonic_series<0>(qs) / i0 - harmonic_series<0>(q) / bessel_series<0>(q);
  const V b = harmonic_series<1>(qs) / i1 - harmonic_series<1>(q) / i1_end;
  const V one = broadcast<V>(T(1));
  const V slope = one / s - s * i1 / i1_end - z2 * s * T(0.5) * i1 * (L + b);
  return {i0 * (one + a / L), slope / L};
}

// In a ball.
template <class V>
QF_HD SourceWeight<V> source_weight_ball(V s, V z2) {
  using T = Element<V>;
  const V q = z2 * T(0.25), qs = q * s * s;
  const V one = broadcast<V>(T(1)), rest = one - s;
  const V odd = bessel_series<-1>(qs) - z2 * s * s * bessel_series<1>(qs), odd_end = bessel_series<-1>(q) - z2 * bessel_series<1>(q);
  const V slope = odd / (s * s) - s * odd_end * bessel_series<3>(qs) / bessel_series<3>(q);
  return {bessel_series<1>(q * rest * rest) / bessel_series<1>(q), slope * s / rest};
}

template <int D, class V>
QF_HD SourceWeight<V> source_weight(V s, V logarithm, V z2) {
  if constexpr (D == 2)
    return source_weight_disc(s, logarithm, z2);
  else
    return source_weight_ball(s, z2);
}

// (13) The first ball of a walk that leaves in direction n, with a source point in direction m.
template <class V, int D>
QF_HD First<V, D> first_ball(V radius, V z2, const SourceWeight<V>& source, const V (&n)[D], const V (&m)[D]) {
  using T = Element<V>;
  const V q = z2 * T(0.25);
  First<V, D> at;
  at.along = broadcast<V>(T(1)) / bessel_series<D - 2>(q), at.source = source.value;
  const V outward = T(D) / (radius * bessel_series<D>(q));
  for (int i = 0; i < D; ++i) at.outward[i] = outward * n[i], at.toward[i] = source.gradient / radius * m[i];
  return at;
}

// Adds a walk to the counts of steps, of walks cut off, and of walks that escaped.
QF_HD void add_mark(uint32_t mark, int64_t* counts) {
  counts[0] += mark & (kEscaped - 1);
  counts[1] += (mark & kCutOff) != 0;
  counts[2] += (mark & kEscaped) != 0;
}

// (6) Merges two nodes of n walks each, as python/quatrefoil/wos/walk/nodes.py does. Every product that could be fused is exact.
template <class V>
QF_HD void merge_equal(double n, V& mean, V& m2, V mean_b, V m2_b) {
  const V delta = mean_b - mean;
  mean = mean + delta * 0.5;
  m2 = (m2 + m2_b) + (delta * delta) * (n * 0.5);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
