// Right-angle FFT. A real sequence u is the polynomial sum_n u_n x^n modulo x^N - i, represented by its values at the N roots of i. The
// product of two such polynomials has the causal convolution on [0, N) as its real part and the tail on [N, 2N) as its imaginary part. This
// needs no zero padding and half the memory of a real transform of length 2N. On the unit circle u(1/x) has the conjugate values, so
// correlations cost the same as convolutions. The transform is depth first, which uses every level of cache without knowing its size.
#pragma once
#include "core/fft/tree.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

// The shortest transform of length at least n. At most a quarter is padding, except in very short transforms.
template <class T>
QF_HD Length padded_length(int64_t n) {
  constexpr int64_t square = kLanes<T> * kLanes<T>;  // the leaf's block: it must divide N
  Length best{max<int64_t>(square, 4 * kLanes<T>), 4};
  while (best.N < n) best.N *= 2;
  for (int R = 3; R <= 5; R += 2) {
    int64_t M = square;
    while (R * M < n) M *= 2;
    if (R * M < best.N) best = {R * M, R};
  }
  return best;
}

// The longest transform of length at most n; length 0 if no transform is that short.
template <class T>
QF_HD Length filled_length(int64_t n) {
  constexpr int64_t square = kLanes<T> * kLanes<T>;
  Length best{0, 4};
  for (int R = 3; R <= 5; ++R)
    for (int64_t M = square; R * M <= n; M *= 2)
      if (R * M > best.N && R * M >= 4 * kLanes<T>) best = {R * M, R};
  return best;
}

// exp(i pi m / (2R)), m < R: the powers of the first R-th root of i.
template <int R>
struct RootOfI;
template <>
struct RootOfI<3> {
  static constexpr double re[3] = {1, 0.86602540378443864676, 0.5}, im[3] = {0, 0.5, 0.86602540378443864676};
};
template <>
struct RootOfI<5> {
  static constexpr double re[5] = {1, 0.95105651629515357212, 0.80901699437494742410, 0.58778525229247312917, 0.30901699437494742410};
  static constexpr double im[5] = {0, 0.30901699437494742410, 0.58778525229247312917, 0.80901699437494742410, 0.95105651629515357212};
};
// The roots of x^N - i as a quad: exp(i pi/4), exp(i pi/8), exp(3 i pi/8).
template <class T>
struct QuadOfI {
  static constexpr double kHalf = 0.70710678118654752440, kCos = 0.92387953251128675613, kTan = 0.41421356237309504880;
  static constexpr double kThirdTan = 2.41421356237309504880;
  static constexpr T roots[6] = {T(kHalf), 1, T(kCos), T(kTan), T(kTan), T(kThirdTan)};  // cos(3 pi/8) / cos(pi/8) is kTan
};

// Remainders, modulo x^(N/R) minus each R-th root of i, of the polynomial whose coefficients [m N / R, (m + 1) N / R) are u[m].
template <int R, class V>
QF_HD void split_at_i(const V* u, cplx<V>* x) {
  using T = Element<V>;
  if constexpr (R == 4) {
    using Q = QuadOfI<T>;
    const V c = broadcast<V>(T(Q::kCos)), s2 = u[2] * T(Q::kHalf), ratio = broadcast<V>(T(Q::kTan)), y = u[1] * T(Q::kTan);
    const cplx<V> a{u[0] + T(Q::kHalf) * u[2], s2}, b{u[0] - T(Q::kHalf) * u[2], -s2};  // sin(pi/4) = cos(pi/4)
    const cplx<V> e{u[1] + ratio * u[3], y + u[3]}, f{u[3] - y, u[1] - ratio * u[3]};   // kTan kThirdTan = 1
    x[0] = plus(a, c, e), x[1] = less(a, c, e), x[2] = plus(b, c, f), x[3] = less(b, c, f);
  } else {
    using Root = RootOfI<R>;
    x[0] = {u[0], V{}};
#pragma GCC unroll 5
    for (int m = 1; m < R; ++m) x[m] = {u[m] * T(Root::re[m]), u[m] * T(Root::im[m])};
    butterfly<R, -1>(x);
  }
}
template <int R, class V>
QF_HD void split_at_i(cplx<V>* x) {
  using T = Element<V>;
  if constexpr (R == 4) {
    split<2>(x, 1, Roots<V, true>{QuadOfI<T>::roots});
  } else {
    using Root = RootOfI<R>;
#pragma GCC unroll 5
    for (int m = 1; m < R; ++m) x[m] = x[m] * cplx<V>{broadcast<V>(T(Root::re[m])), broadcast<V>(T(Root::im[m]))};
    butterfly<R, -1>(x);
  }
}
// The inverse of split_at_i; f(m, re, im) receives the coefficients times `by`.
template <int R, class V, class F>
QF_HD void merge_at_i(cplx<V>* x, Element<V> by, F&& f) {
  using T = Element<V>;
  if constexpr (R == 4) {
    merge<2>(x, 1, Roots<V, true>{QuadOfI<T>::roots});
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) f(m, x[m].re * by, x[m].im * by);
  } else {
    using Root = RootOfI<R>;
    butterfly<R, +1>(x);
#pragma GCC unroll 5
    for (int m = 0; m < R; ++m) {
      const T c = by * T(Root::re[m]), s = by * T(Root::im[m]);
      f(m, x[m].re * c + x[m].im * s, x[m].im * c - x[m].re * s);
    }
  }
}

}  // namespace fft

// The transforms of one length. It shares the table of roots.
template <class T>
class RightAngle {
 public:
  using V = Lanes<T>;
  static constexpr int W = kLanes<T>;

  // The transform for n numbers with the least padding.
  explicit RightAngle(int64_t n) : RightAngle(fft::padded_length<T>(n)) {}
  explicit RightAngle(fft::Length length)
      : N_(length.N),
        R_(length.R),
        tree_(length),
        roots_({fft::kTreeTable + R_, kLanes<T>, int(sizeof(T)), N_}, tree_.size, &fft::fill_tree<T>) {}
  int64_t length() const { return N_; }

  // meanwhile(at, count) runs before the leaf of elements [at, at + count). The leaf is not memory-bound, so meanwhile can prefetch.
  struct Nothing {
    QF_HD void operator()(int64_t, int64_t) const {}
  };

  // re, im <- spectrum of the n <= N real numbers u.
  template <class Meanwhile = Nothing>
  void forward(const T* u, int64_t n, T* re, T* im, Meanwhile meanwhile = {}) const {
    first<false>(u, n, re, im);
    below<true, false>(re, im, re, im, Unchanged(), meanwhile);
  }
  // re, im <- spectrum of the N complex numbers in re, im.
  void forward(T* re, T* im) const {
    first<true>(nullptr, N_, re, im);
    below<true, false>(re, im, re, im, Unchanged(), Nothing());
  }
  // Forward and inverse transform in one sweep. The spectrum of u consists of blocks z, polynomials modulo x^kBlock - c that begin at
  // element i. f(i, z, c) changes each block in place. The result is transformed back into to_re, to_im, which may be re, im. finish(l, re,
  // im, n - l) receives W values, starting at index l < n.
  template <class F, class Finish, class Meanwhile = Nothing>
  void through(const T* u, int64_t n, T* re, T* im, T* to_re, T* to_im, F f, Finish finish, Meanwhile meanwhile = {}) const {
    first<false>(u, n, re, im);
    below<true, true>(re, im, to_re, to_im, f, meanwhile);
    last(to_re, to_im, n, finish);
  }
  // The convolution u * k on [0, n); k is passed as its spectrum.
  template <class Finish, class Meanwhile = Nothing>
  void convolve(const T* u, int64_t n, const T* k_re, const T* k_im, T* re, T* im, Finish finish, Meanwhile meanwhile = {}) const {
    through(u, n, re, im, re, im, TimesSpectrum{k_re, k_im}, finish, meanwhile);
  }
  // The same for the N complex numbers in re, im, which are overwritten.
  template <class Finish>
  void convolve(T* re, T* im, int64_t n, const T* k_re, const T* k_im, Finish finish) const {
    first<true>(nullptr, N_, re, im);
    below<true, true>(re, im, re, im, TimesSpectrum{k_re, k_im}, Nothing());
    last(re, im, n, finish);
  }
  // The inverse of the spectrum in re, im (overwritten), on [0, n).
  template <class Finish, class Meanwhile = Nothing>
  void inverse(T* re, T* im, int64_t n, Finish finish, Meanwhile meanwhile = {}) const {
    below<false, true>(re, im, re, im, Unchanged(), meanwhile);
    last(re, im, n, finish);
  }

 private:
  // Calls f with the radix and the number of layers of the first and the last pass, as compile-time constants.
  template <class F>
  void with_radix(F&& f) const {
    R_ == 4 ? with_layers<4>(f) : R_ == 3 ? with_layers<3>(f) : with_layers<5>(f);
  }
  template <int R, class F>
  void with_layers(F&& f) const {
    constexpr auto radix = std::integral_constant<int, R>{};
    if constexpr (fft::kMaxFirstLayers == 2 && R < 5)
      if (tree_.first.layers == 2) return f(radix, std::integral_constant<int, 2>{});
    tree_.first.layers == 1 ? f(radix, std::integral_constant<int, 1>{}) : f(radix, std::integral_constant<int, 0>{});
  }
  template <int layers>
  auto first_roots(int r) const {
    return fft::Roots<V, true>{roots_ + tree_.first.roots}.after(r * fft::roots_of(layers));
  }

  static constexpr double kColumnNs = W * fft::kNumberNs;  // per vector

  // Calls f(j, whole) for the columns j = 0, W, ... < end. `whole` is true if j + W <= full: all indices of the column are below n.
  template <class F>
  QF_HD static void each_column(int64_t end, int64_t full, double column_ns, F&& f) {
    in_parts<W>(0, end, column_ns / W, [&](int64_t j, int64_t stop) __attribute__((always_inline)) {
      for (; j < stop && j + W <= full; j += W) f(j, std::true_type{});
      for (; j < stop; j += W) f(j, std::false_type{});
    });
  }

  template <bool complex>
  void first(const T* u, int64_t n, T* re, T* im) const {
    with_radix([&](auto R, auto layers) { first_pass<R.value, layers.value, complex>(u, n, re, im); });
  }
  template <class Finish>
  void last(const T* re, const T* im, int64_t n, Finish& finish) const {
    with_radix([&](auto R, auto layers) { last_pass<R.value, layers.value>(re, im, n, finish); });
  }

  // Computes the remainders modulo x^(N/R) minus each R-th root of i, and some layers of these blocks. Reads u once, writes re and im once.
  // In place for complex input.
  template <int R, int layers, bool complex>
  void first_pass(const T* u, int64_t n, T* re, T* im) const {
    constexpr int parts = 1 << layers;
    const int64_t q = N_ / (R * parts);
    each_column(q, complex ? q : n - (R * parts - 1) * q, kColumnNs * R * parts, [&](int64_t j, auto whole) __attribute__((always_inline)) {
      cplx<V> z[R * parts];
#pragma GCC unroll 4
      for (int k = 0; k < parts; ++k) {
        cplx<V> x[R];
        const auto at = [&](int m) { return j + (m * parts + k) * q; };
        if constexpr (complex) {
#pragma GCC unroll 5
          for (int m = 0; m < R; ++m) x[m] = load_complex<V>(re + at(m), im + at(m));
          fft::split_at_i<R>(x);
        } else {
          V numbers[R];
#pragma GCC unroll 5
          for (int m = 0; m < R; ++m) numbers[m] = load_first<V>(u + at(m), whole ? W : n - at(m));
          fft::split_at_i<R>(numbers, x);
        }
#pragma GCC unroll 5
        for (int r = 0; r < R; ++r) z[r * parts + k] = x[r];
      }
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) fft::split<layers>(z + r * parts, 1, first_roots<layers>(r));
#pragma GCC unroll 16
      for (int r = 0; r < R * parts; ++r) store_complex(re + j + r * q, im + j + r * q, z[r]);
    });
  }

  // Reads re and im once; `finish` writes the output.
  template <int R, int layers, class Finish>
  void last_pass(const T* re, const T* im, int64_t n, Finish& finish) const {
    constexpr int parts = 1 << layers;
    const int64_t q = N_ / (R * parts);
    const T scale = T(fft::kBlock<T>) / T(N_);  // every inverse layer doubles the numbers
    each_column(min(q, n), n - (R * parts - 1) * q, kColumnNs * R * parts, [&](int64_t j, auto whole) __attribute__((always_inline)) {
      cplx<V> z[R * parts];
#pragma GCC unroll 16
      for (int r = 0; r < R * parts; ++r) z[r] = load_complex<V>(re + j + r * q, im + j + r * q);
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) fft::merge<layers>(z + r * parts, 1, first_roots<layers>(r));
#pragma GCC unroll 4
      for (int k = 0; k < parts; ++k) {
        cplx<V> x[R];
#pragma GCC unroll 5
        for (int r = 0; r < R; ++r) x[r] = z[r * parts + k];
        fft::merge_at_i<R>(x, scale, [&](int m, V real, V imag) __attribute__((always_inline)) {
          const int64_t at = j + (m * parts + k) * q;
          if (whole || at < n) finish(at, real, imag, whole ? W : n - at);
        });
      }
    });
  }

  // Two choices of f, which leave a block of a spectrum unchanged, or multiply it by a block of another spectrum.
  struct Unchanged {
    QF_HD void operator()(int64_t, cplx<V>*, cplx<V>) const {}
  };
  struct TimesSpectrum {
    const T *re, *im;
    QF_HD void operator()(int64_t i, cplx<V>* z, cplx<V> c) const { fft::product<T>(z, fft::Block<T>(re + i, im + i).z, c).put(z); }
  };

  // Runs all layers between the first pass and the last, depth first.
  template <bool forth, bool back, class F, class Meanwhile>
  void below(T* re, T* im, T* to_re, T* to_im, const F& f, const Meanwhile& meanwhile) const {
    descend<forth, back>(re, im, to_re, to_im, 0, 0, N_, f, meanwhile);
  }
  // Transforms elements [from, from + n), which are blocks of pass i. Interrupt checks are cheap compared with blocks larger than L1.
  static constexpr int64_t kCheckedFrom = 16 << 10;
  template <bool forth, bool back, class F, class Meanwhile>
  void descend(T* re, T* im, T* to_re, T* to_im, int i, int64_t from, int64_t n, const F& f, const Meanwhile& meanwhile) const {
    if (i == tree_.count) return leaves<forth, back, fft::kLaneLayers<T>>(re, im, to_re, to_im, from, n, f, meanwhile);
    const fft::Pass& now = tree_.passes[i];
    const int64_t each = N_ / now.blocks;
    for (int64_t at = from; at < from + n; at += each) {
      const T* const roots = roots_ + now.roots + at / each * (2 * fft::roots_of(now.layers));
      if (forth) pass<false>(now.layers, re + at, im + at, each, roots);
      descend<forth, back>(re, im, to_re, to_im, i + 1, at, each, f, meanwhile);
      if (back) pass<true>(now.layers, to_re + at, to_im + at, each, roots);
      if (each >= kCheckedFrom) check_interrupt(double(each) * 2 * fft::kNumberNs);
    }
  }
  template <bool back>
  static void pass(int layers, T* re, T* im, int64_t n, const T* roots) {
    layers == 4   ? fft::pass<4, back>(re, im, n, roots)
    : layers == 3 ? fft::pass<3, back>(re, im, n, roots)
                  : fft::pass<2, back>(re, im, n, roots);
  }

  template <bool forth, bool back, int layers, class F, class Meanwhile>
  void leaves(T* re, T* im, T* to_re, T* to_im, int64_t from, int64_t n, const F& f, const Meanwhile& meanwhile) const {
    if constexpr (layers > 0)
      if (tree_.leaf.layers < layers) return leaves<forth, back, layers - 1>(re, im, to_re, to_im, from, n, f, meanwhile);
    constexpr int64_t square = W * W, of_blocks = (W >> layers) * fft::roots_of(layers) * 2;
    constexpr int64_t of_lanes = fft::kOfLanes<T> * 2 * W;
    for (int64_t at = from; at < from + n; at += square) {
      meanwhile(at, square);
      const auto at_block = [&](int64_t i, cplx<V>* z, cplx<V> c) __attribute__((always_inline)) { f(at + i, z, c); };
      fft::leaf<forth, back, layers>(re + at, im + at, to_re + at, to_im + at, roots_ + tree_.leaf.roots + at / square * of_blocks,
                                     roots_ + tree_.lanes + at / square * of_lanes, at_block);
    }
  }

  int64_t N_;
  int R_;
  fft::Tree<T> tree_;
  const CachedTable<T> roots_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
