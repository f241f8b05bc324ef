// Layers, passes and roots of a transform of polynomials on split arrays (re[], im[]).
//
// A block of n numbers is a polynomial modulo x^n - c, with halves a and b. If w^2 = c, it is determined by its remainders modulo
// x^(n/2) - w and x^(n/2) + w, which are a + w b and a - w b. A layer takes six fused multiply-adds per two numbers, with one w for the
// whole block. The inverse is a sum, and a difference divided by w. Nothing is reordered: a spectrum stays in the order of this tree. The
// last layers run in registers on W blocks of W numbers (W lanes), after a transposition. They end with blocks of a few numbers, one per
// lane, which are multiplied as polynomials. The remaining layers would take at least as many operations, twice the roots and more
// roundings.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/interrupt.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

template <class V>
QF_HD cplx<V> multiply_conj(cplx<V> a, cplx<V> b) {  // a conj(b)
  return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}
template <class V>
QF_HD cplx<V> times_i(cplx<V> z) {
  return {-z.im, z.re};
}
template <class V>
QF_HD cplx<V> over_i(cplx<V> z) {
  return {z.im, -z.re};
}

// The R-point transform in place, R = 3 or 5; sign -1 is forward, +1 inverse.
template <int R, int sign, class V>
QF_HD void butterfly(cplx<V>* z) {
  using T = Element<V>;
  const auto turn = [](cplx<V> x) { return sign < 0 ? over_i(x) : times_i(x); };
  const auto times = [](cplx<V> x, T by) { return scaled(x, broadcast<V>(by)); };
  if constexpr (R == 3) {
    const cplx<V> s = z[1] + z[2], d = times(turn(z[1] - z[2]), T(0.86602540378443864676));  // sin(pi/3)
    const cplx<V> t = z[0] - times(s, T(0.5));
    z[0] = z[0] + s;
    z[1] = t + d;
    z[2] = t - d;
  } else {
    static_assert(R == 5);
    constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);  // cos 2pi/5, cos 4pi/5
    constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);
    const cplx<V> a = z[1] + z[4], b = z[2] + z[3], c = turn(z[1] - z[4]), d = turn(z[2] - z[3]);
    const cplx<V> t1 = z[0] + times(a, c1) + times(b, c2), t2 = z[0] + times(a, c2) + times(b, c1);
    const cplx<V> u1 = times(c, s1) + times(d, s2), u2 = times(c, s2) - times(d, s1);
    z[0] = z[0] + a + b;
    z[1] = t1 + u1;
    z[4] = t1 - u1;
    z[2] = t2 + u2;
    z[3] = t2 - u2;
  }
}

// ---- layers. The roots of a block with c = exp(4 i t) are exp(2 i t) for a pair (one layer), and exp(2 i t), exp(i t), exp(3 i t) for a
// quad (two layers), then those of the resulting blocks. A root is stored as its cosine and its tangent: a product with it, divided by its
// cosine, takes two fused multiply-adds. The cosine is then a factor in the fused multiply-adds that add the product. For exp(3 i t) the
// cosine is divided by that of exp(i t), which gives 4 cos^2 t - 3. No root is i, which has no tangent, because c is never -1.

constexpr int roots_of(int layers) { return (1 << layers) - 1; }  // one root per halved block

// Roots that are the same in all lanes, or one per lane.
template <class V, bool same>
struct Roots {
  static constexpr int step = same ? 2 : 2 * kWidth<V>;
  const Element<V>* at;
  QF_HD cplx<V> operator[](int i) const {
    const Element<V>* const w = at + i * step;
    if constexpr (same)
      return {broadcast<V>(w[0]), broadcast<V>(w[1])};
    else
      return load_complex<V>(w, w + kWidth<V>);
  }
  QF_HD Roots after(int i) const { return {at + i * step}; }
};

// z w / cos(w) and z / (w cos(w)).
template <class V>
QF_HD cplx<V> rotated(cplx<V> z, V tangent) {
  return {z.re - tangent * z.im, z.im + tangent * z.re};
}
template <class V>
QF_HD cplx<V> rotated_back(cplx<V> z, V tangent) {
  return {z.re + tangent * z.im, z.im - tangent * z.re};
}
template <class V>
QF_HD cplx<V> plus(cplx<V> a, V s, cplx<V> x) {
  return {a.re + s * x.re, a.im + s * x.im};
}
template <class V>
QF_HD cplx<V> less(cplx<V> a, V s, cplx<V> x) {
  return {a.re - s * x.re, a.im - s * x.im};
}

// Splits a pair or a quad of numbers `stride` apart: 6 or 22 operations.
template <int layers, class V, bool same>
QF_HD void split(cplx<V>* z, int stride, Roots<V, same> roots) {
  if constexpr (layers == 1) {
    const cplx<V> half = roots[0], x = rotated(z[stride], half.im);
    z[stride] = less(z[0], half.re, x);
    z[0] = plus(z[0], half.re, x);
  } else if constexpr (layers == 2) {
    const cplx<V> half = roots[0], quarter = roots[1], third = roots[2];
    const cplx<V> x = rotated(z[2 * stride], half.im), a = plus(z[0], half.re, x), b = less(z[0], half.re, x);
    const cplx<V> y = rotated(z[stride], quarter.im), t = rotated(z[3 * stride], third.im);
    const cplx<V> c = plus(y, third.re, t), d = times_i(less(y, third.re, t));
    z[0] = plus(a, quarter.re, c);
    z[stride] = less(a, quarter.re, c);
    z[2 * stride] = plus(b, quarter.re, d);
    z[3 * stride] = less(b, quarter.re, d);
  }
}
// The inverse of `split`, multiplied by two or four: 8 or 28 operations.
template <int layers, class V, bool same>
QF_HD void merge(cplx<V>* z, int stride, Roots<V, same> roots) {
  if constexpr (layers == 1) {
    const cplx<V> half = roots[0], a = z[0], b = z[stride];
    z[0] = a + b;
    z[stride] = scaled(rotated_back(a - b, half.im), half.re);
  } else if constexpr (layers == 2) {
    const cplx<V> half = roots[0], quarter = roots[1], third = roots[2];
    const cplx<V> s = z[0] + z[stride], t = z[2 * stride] + z[3 * stride];
    const cplx<V> e = z[0] - z[stride], f = over_i(z[2 * stride] - z[3 * stride]);
    z[0] = s + t;
    z[stride] = scaled(rotated_back(e + f, quarter.im), quarter.re);
    z[2 * stride] = scaled(rotated_back(s - t, half.im), half.re);
    z[3 * stride] = scaled(rotated_back(e - f, third.im), V(quarter.re * third.re));
  }
}

// Up to four layers are split into upper and lower ones, each a pair or a quad.
constexpr int lower_layers(int layers) { return layers < 2 ? layers : 2; }
constexpr int upper_layers(int layers) { return layers - lower_layers(layers); }
// The roots of block g below the upper layers.
template <int layers, class V, bool same>
QF_HD Roots<V, same> below(Roots<V, same> roots, int g) {
  return roots.after(roots_of(upper_layers(layers)) + g * roots_of(lower_layers(layers)));
}

// Transforms the 2^layers numbers of z in place.
template <int layers, class V>
QF_HD void forward(cplx<V>* z, Roots<V, true> roots) {
  constexpr int rows = 1 << lower_layers(layers), blocks = 1 << upper_layers(layers);
#pragma GCC unroll 4
  for (int j = 0; j < rows; ++j) split<upper_layers(layers)>(z + j, rows, roots);
#pragma GCC unroll 4
  for (int g = 0; g < blocks; ++g) split<lower_layers(layers)>(z + g * rows, 1, below<layers>(roots, g));
}
template <int layers, class V>
QF_HD void inverse(cplx<V>* z, Roots<V, true> roots) {
  constexpr int rows = 1 << lower_layers(layers), blocks = 1 << upper_layers(layers);
#pragma GCC unroll 4
  for (int g = 0; g < blocks; ++g) merge<lower_layers(layers)>(z + g * rows, 1, below<layers>(roots, g));
#pragma GCC unroll 4
  for (int j = 0; j < rows; ++j) merge<upper_layers(layers)>(z + j, rows, roots);
}

constexpr double kNumberNs = 1;  // per number in a pass over memory; estimated

// ---- passes: the layers of a block of n numbers; q = n / 2^layers is a multiple of W. A pass reads and writes every number once. Outside
// L1 this traffic dominates the cost, so there are as few passes as possible.

template <int layers, bool back, class T>
QF_HD void pass(T* re, T* im, int64_t n, const T* roots) {
  using V = Lanes<T>;
  constexpr int R = 1 << layers;
  const int64_t q = n / R;
  in_parts<kLanes<T>>(0, q, R * kNumberNs, [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
    for (int64_t j = begin; j < end; j += kLanes<T>) {
      cplx<V> z[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) z[r] = load_complex<V>(re + j + r * q, im + j + r * q);
      if constexpr (back)
        inverse<layers>(z, Roots<V, true>{roots});
      else
        forward<layers>(z, Roots<V, true>{roots});
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) store_complex(re + j + r * q, im + j + r * q, z[r]);
    }
  });
}

}  // namespace fft
}  // namespace QF_ISA
}  // namespace quatrefoil
