// The parts of a complex FFT on split arrays (re[], im[]): butterflies, passes, the leaf in registers, twiddle tables.
//
// Decimation in frequency going down and in time coming back, so no bit reversal: the spectrum stays in an order of its own. A
// sub-transform of W x W numbers (W lanes) ends in registers: transpose, W-point transform down the columns, product, and back.
#pragma once
#include "core/cache.hpp"
#include "core/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

constexpr double kPi = 3.14159265358979323846;
constexpr double kCos = 0.92387953251128675613, kSin = 0.38268343236508977173, kHalf = 0.70710678118654752440;  // of pi/8; cos(pi/4)

template <class V>
struct Complex {
  V re, im;
};
template <class V>
QF_HD Complex<V> operator+(Complex<V> a, Complex<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class V>
QF_HD Complex<V> operator-(Complex<V> a, Complex<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class V>
QF_HD Complex<V> multiply(Complex<V> a, V re, V im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};
}
template <class V>
QF_HD Complex<V> multiply_conj(Complex<V> a, V re, V im) {
  return {a.re * re + a.im * im, a.im * re - a.re * im};
}
template <class V>
QF_HD Complex<V> load_complex(const Element<V>* re, const Element<V>* im) {
  return {load<V>(re), load<V>(im)};
}
template <class V>
QF_HD void store_complex(Element<V>* re, Element<V>* im, Complex<V> z) {
  store(re, z.re);
  store(im, z.im);
}

// The 4-point transform in place; sign -1 forward, +1 inverse.
template <int sign, class V>
QF_HD void butterfly4(Complex<V>& a, Complex<V>& b, Complex<V>& c, Complex<V>& d) {
  const Complex<V> s = a + c, t = a - c, u = b + d, e = b - d;
  const Complex<V> v = sign < 0 ? Complex<V>{e.im, -e.re} : Complex<V>{-e.im, e.re};  // -i e, or i e
  a = s + u;
  b = t + v;
  c = s - u;
  d = t - v;
}

template <int sign, class V>
QF_HD Complex<V> turn(Complex<V> z) {  // by -i (sign -1) or i
  return sign < 0 ? Complex<V>{z.im, -z.re} : Complex<V>{-z.im, z.re};
}
template <class V>
QF_HD Complex<V> scale(Complex<V> z, Element<V> by) {
  return {z.re * by, z.im * by};
}

// The R-point transform in place.
template <int R, int sign, class V>
QF_HD void butterfly(Complex<V>* z) {
  using T = Element<V>;
  if constexpr (R == 4) {
    butterfly4<sign>(z[0], z[1], z[2], z[3]);
  } else if constexpr (R == 8) {
    const auto eighth = [](Complex<V> x) {  // times exp(sign i pi / 4)
      const Complex<V> y = turn<sign>(x);
      return scale(x + y, T(kHalf));
    };
    Complex<V> a = z[0] + z[4], b = z[1] + z[5], c = z[2] + z[6], d = z[3] + z[7];
    Complex<V> e = z[0] - z[4], f = eighth(z[1] - z[5]), g = turn<sign>(z[2] - z[6]), h = turn<sign>(eighth(z[3] - z[7]));
    butterfly4<sign>(a, b, c, d);
    butterfly4<sign>(e, f, g, h);
    z[0] = a, z[2] = b, z[4] = c, z[6] = d;
    z[1] = e, z[3] = f, z[5] = g, z[7] = h;
  } else if constexpr (R == 3) {
    const Complex<V> s = z[1] + z[2], d = scale(turn<sign>(z[1] - z[2]), T(0.86602540378443864676));  // sin(pi/3)
    const Complex<V> t = z[0] - scale(s, T(0.5));
    z[0] = z[0] + s;
    z[1] = t + d;
    z[2] = t - d;
  } else {
    static_assert(R == 5);
    constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);  // cos 2pi/5, cos 4pi/5
    constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);
    const Complex<V> a = z[1] + z[4], b = z[2] + z[3], c = turn<sign>(z[1] - z[4]), d = turn<sign>(z[2] - z[3]);
    const Complex<V> t1 = z[0] + scale(a, c1) + scale(b, c2), t2 = z[0] + scale(a, c2) + scale(b, c1);
    const Complex<V> u1 = scale(c, s1) + scale(d, s2), u2 = scale(c, s2) - scale(d, s1);
    z[0] = z[0] + a + b;
    z[1] = t1 + u1;
    z[4] = t1 - u1;
    z[2] = t2 + u2;
    z[3] = t2 - u2;
  }
}

// ---- passes over a block of n numbers, of radix 4 or 8; q = n / R is a multiple of W. Each reads and writes every number once: beyond L1
// that is what it costs, so there are as few as possible.

template <int R, class T>
QF_HD void pass_forward(T* re, T* im, int64_t n, const T* twiddle) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const int64_t q = n / R;
  for (int64_t j = 0; j < q; j += W, twiddle += 2 * (R - 1) * W) {
    Complex<V> z[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) z[r] = load_complex<V>(re + j + r * q, im + j + r * q);
    butterfly<R, -1>(z);
    store_complex(re + j, im + j, z[0]);
#pragma GCC unroll 8
    for (int r = 1; r < R; ++r) {
      const T* w = twiddle + (r - 1) * 2 * W;
      store_complex(re + j + r * q, im + j + r * q, multiply(z[r], load<V>(w), load<V>(w + W)));
    }
  }
}

template <int R, class T>
QF_HD void pass_inverse(T* re, T* im, int64_t n, const T* twiddle) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const int64_t q = n / R;
  for (int64_t j = 0; j < q; j += W, twiddle += 2 * (R - 1) * W) {
    Complex<V> z[R];
    z[0] = load_complex<V>(re + j, im + j);
#pragma GCC unroll 8
    for (int r = 1; r < R; ++r) {
      const T* w = twiddle + (r - 1) * 2 * W;
      z[r] = multiply_conj(load_complex<V>(re + j + r * q, im + j + r * q), load<V>(w), load<V>(w + W));
    }
    butterfly<R, +1>(z);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store_complex(re + j + r * q, im + j + r * q, z[r]);
  }
}

// Blocks of 2W numbers, two registers each.
template <class T>
QF_HD void pass2_forward(T* re, T* im, const T* twiddle) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const Complex<V> a = load_complex<V>(re, im), b = load_complex<V>(re + W, im + W);
  store_complex(re, im, a + b);
  store_complex(re + W, im + W, multiply(a - b, load<V>(twiddle), load<V>(twiddle + W)));
}
template <class T>
QF_HD void pass2_inverse(T* re, T* im, const T* twiddle) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const Complex<V> a = load_complex<V>(re, im);
  const Complex<V> b = multiply_conj(load_complex<V>(re + W, im + W), load<V>(twiddle), load<V>(twiddle + W));
  store_complex(re, im, a + b);
  store_complex(re + W, im + W, a - b);
}

// ---- the leaf: W x W numbers in registers

// Twiddle of a 16-point transform: exp(-2 pi i k / 16).
QF_HD constexpr double root_re(int k) {
  constexpr double c[16] = {1, kCos, kHalf, kSin, 0, -kSin, -kHalf, -kCos, -1, -kCos, -kHalf, -kSin, 0, kSin, kHalf, kCos};
  return c[k % 16];
}
QF_HD constexpr double root_im(int k) { return root_re(k + 4); }  // -sin(t) = cos(t + pi/2)

template <int n, class V>
QF_HD void registers_forward(Complex<V>* z) {
  if constexpr (n == 2) {
    const Complex<V> a = z[0], b = z[1];
    z[0] = a + b;
    z[1] = a - b;
  } else if constexpr (n >= 4) {
    constexpr int q = n / 4;
#pragma GCC unroll 4
    for (int j = 0; j < q; ++j) {
      butterfly4<-1>(z[j], z[j + q], z[j + 2 * q], z[j + 3 * q]);
#pragma GCC unroll 4
      for (int r = 1; r < 4; ++r)
        if (j)
          z[j + r * q] = multiply(z[j + r * q], broadcast<V>(Element<V>(root_re(r * j * (16 / n)))),
                                  broadcast<V>(Element<V>(root_im(r * j * (16 / n)))));
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) registers_forward<q>(z + r * q);
  }
}
template <int n, class V>
QF_HD void registers_inverse(Complex<V>* z) {
  if constexpr (n == 2) {
    registers_forward<2>(z);
  } else if constexpr (n >= 4) {
    constexpr int q = n / 4;
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) registers_inverse<q>(z + r * q);
#pragma GCC unroll 4
    for (int j = 0; j < q; ++j) {
#pragma GCC unroll 4
      for (int r = 1; r < 4; ++r)
        if (j)
          z[j + r * q] = multiply_conj(z[j + r * q], broadcast<V>(Element<V>(root_re(r * j * (16 / n)))),
                                       broadcast<V>(Element<V>(root_im(r * j * (16 / n)))));
      butterfly4<+1>(z[j], z[j + q], z[j + 2 * q], z[j + 3 * q]);
    }
  }
}

template <class V>
QF_HD void transpose_complex(Complex<V>* z) {
  constexpr int W = kWidth<V>;
  V r[W];
  for (int i = 0; i < W; ++i) r[i] = z[i].re;
  transpose(r);
  for (int i = 0; i < W; ++i) z[i].re = r[i], r[i] = z[i].im;
  transpose(r);
  for (int i = 0; i < W; ++i) z[i].im = r[i];
}

enum class Leaf { forward, multiply, inverse };

// R > 1: the pass over blocks of R W numbers is done on the way, without loads and stores of its own.
template <Leaf mode, int R, class T>
QF_HD void leaf(T* re, T* im, const T* k_re, const T* k_im, const T* twiddle) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  Complex<V> z[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) z[i] = load_complex<V>(re + i * W, im + i * W);
  if constexpr (R > 1 && mode != Leaf::inverse)
#pragma GCC unroll 4
    for (int i = 0; i < W; i += R) {
      butterfly<R, -1>(z + i);
#pragma GCC unroll 8
      for (int r = 1; r < R; ++r) z[i + r] = multiply(z[i + r], load<V>(twiddle + (r - 1) * 2 * W), load<V>(twiddle + (2 * r - 1) * W));
    }
  if constexpr (mode != Leaf::inverse) {
    transpose_complex(z);
    registers_forward<W>(z);
  }
  if constexpr (mode == Leaf::multiply)
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) z[i] = multiply(z[i], load<V>(k_re + i * W), load<V>(k_im + i * W));
  if constexpr (mode != Leaf::forward) {
    registers_inverse<W>(z);
    transpose_complex(z);
  }
  if constexpr (R > 1 && mode != Leaf::forward)
#pragma GCC unroll 4
    for (int i = 0; i < W; i += R) {
#pragma GCC unroll 8
      for (int r = 1; r < R; ++r)
        z[i + r] = multiply_conj(z[i + r], load<V>(twiddle + (r - 1) * 2 * W), load<V>(twiddle + (2 * r - 1) * W));
      butterfly<R, +1>(z + i);
    }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store_complex(re + i * W, im + i * W, z[i]);
}

// ---- twiddle factors

constexpr int kPassTable = 1, kTwistTable = 2;  // + R

// exp(-2 pi i k / n). The angle is reduced to an eighth of a turn in integers: rounding it first would cost up to 3 eps.
template <class T>
void unit_root(int64_t k, int64_t n, T* re, T* im) {
  k = (k % n + n) % n;
  const int64_t quarter = 4 * k / n, rest = 4 * k - quarter * n;
  const bool far = 2 * rest > n;  // nearer to the next axis
  const double angle = kPi / 2 * (double(far ? n - rest : rest) / double(n));
  const double c = far ? __builtin_sin(angle) : __builtin_cos(angle), s = far ? __builtin_cos(angle) : __builtin_sin(angle);
  const double cosine[4] = {c, -s, -c, s}, sine[4] = {s, c, -s, -c};
  *re = T(cosine[quarter]);
  *im = T(-sine[quarter]);
}

// The radix of the pass over n numbers: 8 as often as the way down to W allows with no radix but 8 and 4, and 2 for n = 2W.
template <class T>
QF_HD int radix(int64_t n) {
  const int64_t rest = n / kLanes<T>;
  return rest == 2 ? 2 : rest == 4 || rest == 16 ? 4 : 8;
}

// exp(-2 pi i r j / n), 0 < r < R, j < n/R, in blocks of W values of j: [r][re W | im W].
template <class T>
void fill_pass(void* data, const TableKey& key) {
  constexpr int W = kLanes<T>;
  T* out = static_cast<T*>(data);
  const int64_t n = key.n, columns = n / radix<T>(n);
  const int roots = radix<T>(n) - 1;
  for (int64_t j = 0; j < columns; ++j)
    for (int r = 1; r <= roots; ++r) {
      T* w = out + (j / W * roots + r - 1) * 2 * W + j % W;
      unit_root(r * j, n, w, w + W);
    }
}
template <class T>
const T* pass_table(int64_t n) {
  constexpr int W = kLanes<T>;
  const int R = radix<T>(n);
  const auto size = std::size_t(n / R * 2 * (R - 1));
  return static_cast<const T*>(cached_table({kPassTable, W, int(sizeof(T)), n}, size * sizeof(T), &fill_pass<T>));
}

}  // namespace fft
}  // namespace QF_ISA
}  // namespace quatrefoil
