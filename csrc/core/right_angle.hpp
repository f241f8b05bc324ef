// Right-angle FFT: the length-N complex transform of u_n w^n, w = exp(i pi / (2N)). The product of two such spectra is the product of the
// polynomials mod x^N - i, so its real part is the causal convolution on [0, N) and its imaginary part the tail on [N, 2N): no zero
// padding, half the memory of a real transform of length 2N. On the unit circle u(1/x) has the conjugate spectrum: correlations for
// nothing.
//
// Depth first, so that every level of cache is used without knowing its size. The twist is folded into the first and the last pass.
#pragma once
#include "core/fft.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

// N = R M with M a power of two: the first and last pass have radix R, all others 8 or 4 (or 2).
struct Length {
  int64_t N;
  int R;
};

// The shortest transform that holds n numbers: at most a quarter is padding (but for the very short ones).
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

// The longest transform that n numbers fill; of length 0 where there is none.
template <class T>
QF_HD Length filled_length(int64_t n) {
  constexpr int64_t square = kLanes<T> * kLanes<T>;
  Length best{0, 4};
  for (int R = 3; R <= 5; ++R)
    for (int64_t M = square; R * M <= n; M *= 2)
      if (R * M > best.N && R * M >= 4 * kLanes<T>) best = {R * M, R};
  return best;
}

// exp(i pi m / (2R)), m < R: the twist at the R-th parts of the length.
template <int R>
struct TwistPart;
template <>
struct TwistPart<3> {
  static constexpr double re[3] = {1, 0.86602540378443864676, 0.5}, im[3] = {0, 0.5, 0.86602540378443864676};
};
template <>
struct TwistPart<4> {
  static constexpr double re[4] = {1, kCos, kHalf, kSin}, im[4] = {0, kSin, kHalf, kCos};
};
template <>
struct TwistPart<5> {
  static constexpr double re[5] = {1, 0.95105651629515357212, 0.80901699437494742410, 0.58778525229247312917, 0.30901699437494742410};
  static constexpr double im[5] = {0, 0.30901699437494742410, 0.58778525229247312917, 0.80901699437494742410, 0.95105651629515357212};
};

// The first pass's twiddles with the twist in them: exp(-i pi j (4r - 1) / (2N)), r < R, is an exponential in j, so it is kept in two
// levels: [r][re W | im W] for j < W, then for every block of W the 2R numbers [r][re, im] of its first j: a table of 2N / W numbers, not
// 2N.
template <int R, class T>
void fill_twist(void* data, const TableKey& key) {
  constexpr int W = kLanes<T>;
  T* out = static_cast<T*>(data);
  const int64_t N = key.n;
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < W; ++j) unit_root(j * (4 * r - 1), 4 * N, out + 2 * W * r + j, out + 2 * W * r + W + j);
  out += 2 * R * W;
  for (int64_t j = 0; j < N / R; j += W)
    for (int r = 0; r < R; ++r, out += 2) unit_root(j * (4 * r - 1), 4 * N, out, out + 1);
}
template <class T>
const T* twist_table(Length length) {
  constexpr int W = kLanes<T>;
  const auto fill = length.R == 3 ? &fill_twist<3, T> : length.R == 5 ? &fill_twist<5, T> : &fill_twist<4, T>;
  const auto size = std::size_t(2 * length.R * W + length.N / W * 2);
  return static_cast<const T*>(cached_table({kTwistTable + length.R, W, int(sizeof(T)), length.N}, size * sizeof(T), fill));
}

}  // namespace fft

// The transforms of one length. Making one looks its tables up; it holds no memory of its own.
template <class T>
class RightAngle {
 public:
  using V = Lanes<T>;
  static constexpr int W = kLanes<T>;

  // For n numbers, and the least padding.
  explicit RightAngle(int64_t n) : RightAngle(fft::padded_length<T>(n)) {}
  explicit RightAngle(fft::Length length) : N_(length.N), R_(length.R), twist_(fft::twist_table<T>(length)) {
    for (int64_t n = N_ / R_; n > W;) {
      tables_[log2(n)] = fft::pass_table<T>(n);
      n /= fft::radix<T>(n);
    }
  }
  int64_t length() const { return N_; }

  // re, im <- spectrum of the n <= N real numbers u.
  void forward(const T* u, int64_t n, T* re, T* im) const {
    first<false>(u, n, re, im);
    below<fft::Leaf::forward>(re, im, re, im);
  }
  // re, im <- spectrum of the N complex numbers in re, im.
  void forward(T* re, T* im) const {
    first<true>(nullptr, N_, re, im);
    below<fft::Leaf::forward>(re, im, re, im);
  }
  // u * k on [0, n), k given by its spectrum: W values from index l on go to finish(l, re, im, n - l).
  template <class Finish>
  void convolve(const T* u, int64_t n, const T* k_re, const T* k_im, T* re, T* im, Finish finish) const {
    first<false>(u, n, re, im);
    below<fft::Leaf::multiply>(re, im, k_re, k_im);
    last(re, im, n, finish);
  }
  // The inverse of the spectrum in re, im (destroyed), on [0, n).
  template <class Finish>
  void inverse(T* re, T* im, int64_t n, Finish finish) const {
    below<fft::Leaf::inverse>(re, im, re, im);
    last(re, im, n, finish);
  }

 private:
  static constexpr int64_t kCached = 1024;  // a block of so many numbers goes through all its passes at once: it lies in L1

  static int log2(int64_t n) { return 63 - __builtin_clzll((unsigned long long)n); }

  QF_HD fft::Complex<V> twiddle(const T* block, int r) const {
    const fft::Complex<V> fine = fft::load_complex<V>(twist_ + 2 * W * r, twist_ + 2 * W * r + W);
    return fft::multiply(fine, broadcast<V>(block[2 * r]), broadcast<V>(block[2 * r + 1]));
  }

  template <bool complex>
  void first(const T* u, int64_t n, T* re, T* im) const {
    R_ == 4 ? first_pass<4, complex>(u, n, re, im) : R_ == 3 ? first_pass<3, complex>(u, n, re, im) : first_pass<5, complex>(u, n, re, im);
  }
  template <class Finish>
  void last(const T* re, const T* im, int64_t n, Finish& finish) const {
    R_ == 4 ? last_pass<4>(re, im, n, finish) : R_ == 3 ? last_pass<3>(re, im, n, finish) : last_pass<5>(re, im, n, finish);
  }

  // Reads u once, writes re and im once. In place for complex input.
  template <int R, bool complex>
  void first_pass(const T* u, int64_t n, T* re, T* im) const {
    using Q = fft::TwistPart<R>;
    const int64_t q = N_ / R;
    const T* block = twist_ + 2 * R * W;
    for (int64_t j = 0; j < q; j += W, block += 2 * R) {
      fft::Complex<V> z[R];
#pragma GCC unroll 5
      for (int m = 0; m < R; ++m) {
        if constexpr (complex) {
          z[m] = fft::multiply(fft::load_complex<V>(re + j + m * q, im + j + m * q), broadcast<V>(T(Q::re[m])), broadcast<V>(T(Q::im[m])));
        } else {
          const V x = load_first<V>(u + j + m * q, n - (j + m * q));
          z[m] = {x * T(Q::re[m]), x * T(Q::im[m])};
        }
      }
      fft::butterfly<R, -1>(z);
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) {
        const fft::Complex<V> w = twiddle(block, r);
        fft::store_complex(re + j + r * q, im + j + r * q, fft::multiply(z[r], w.re, w.im));
      }
    }
  }

  // Reads re and im once; finish writes the output.
  template <int R, class Finish>
  void last_pass(const T* re, const T* im, int64_t n, Finish& finish) const {
    using Q = fft::TwistPart<R>;
    const int64_t q = N_ / R;
    const T scale = T(1) / T(N_);
    const T* block = twist_ + 2 * R * W;
    for (int64_t j = 0; j < q && j < n; j += W, block += 2 * R) {
      fft::Complex<V> z[R];
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) {
        const fft::Complex<V> w = twiddle(block, r);
        z[r] = fft::multiply_conj(fft::load_complex<V>(re + j + r * q, im + j + r * q), w.re, w.im);
      }
      fft::butterfly<R, +1>(z);
#pragma GCC unroll 5
      for (int m = 0; m < R; ++m) {
        const T c = scale * T(Q::re[m]), s = scale * T(Q::im[m]);
        if (j + m * q < n) finish(j + m * q, z[m].re * c + z[m].im * s, z[m].im * c - z[m].re * s, n - (j + m * q));
      }
    }
  }

  // All passes between the first one and the last, on blocks of N / R.
  template <fft::Leaf mode>
  void below(T* re, T* im, const T* k_re, const T* k_im) const {
    if (N_ <= kCached) {
      in_cache<mode>(re, im, k_re, k_im, N_, N_ / R_);
    } else {
      const int64_t q = N_ / R_;
      for (int64_t b = 0; b < N_; b += q) descend<mode>(re + b, im + b, k_re + b, k_im + b, q);
    }
  }

  template <fft::Leaf mode>
  void descend(T* re, T* im, const T* k_re, const T* k_im, int64_t n) const {
    if (n <= kCached) {
      in_cache<mode>(re, im, k_re, k_im, n, n);
      return;
    }
    const int64_t q = n / fft::radix<T>(n);
    if (mode != fft::Leaf::inverse) forward_pass(re, im, n, n);
    for (int64_t b = 0; b < n; b += q) descend<mode>(re + b, im + b, k_re + b, k_im + b, q);
    if (mode != fft::Leaf::forward) inverse_pass(re, im, n, n);
  }

  // The passes of all sub-transforms of length s among n numbers.
  void forward_pass(T* re, T* im, int64_t n, int64_t s) const {
    const T* twiddle = tables_[log2(s)];
    const int R = fft::radix<T>(s);
    for (int64_t b = 0; b < n; b += s)
      R == 8   ? fft::pass_forward<8>(re + b, im + b, s, twiddle)
      : R == 4 ? fft::pass_forward<4>(re + b, im + b, s, twiddle)
               : fft::pass2_forward(re + b, im + b, twiddle);
  }
  void inverse_pass(T* re, T* im, int64_t n, int64_t s) const {
    const T* twiddle = tables_[log2(s)];
    const int R = fft::radix<T>(s);
    for (int64_t b = 0; b < n; b += s)
      R == 8   ? fft::pass_inverse<8>(re + b, im + b, s, twiddle)
      : R == 4 ? fft::pass_inverse<4>(re + b, im + b, s, twiddle)
               : fft::pass2_inverse(re + b, im + b, twiddle);
  }

  // n numbers that consist of sub-transforms of length s.
  template <fft::Leaf mode>
  void in_cache(T* re, T* im, const T* k_re, const T* k_im, int64_t n, int64_t s) const {
    if (s == W)
      leaves<mode, 1>(re, im, k_re, k_im, n);
    else if (W >= 4 && s == 4 * W)
      leaves<mode, W >= 4 ? 4 : 1>(re, im, k_re, k_im, n);
    else if (W >= 8 && s == 8 * W)
      leaves<mode, W >= 8 ? 8 : 1>(re, im, k_re, k_im, n);
    else {
      if (mode != fft::Leaf::inverse) forward_pass(re, im, n, s);
      in_cache<mode>(re, im, k_re, k_im, n, s / fft::radix<T>(s));
      if (mode != fft::Leaf::forward) inverse_pass(re, im, n, s);
    }
  }
  template <fft::Leaf mode, int R>
  void leaves(T* re, T* im, const T* k_re, const T* k_im, int64_t n) const {
    const T* const twiddle = tables_[log2(R * W)];
    for (int64_t b = 0; b < n; b += W * W) fft::leaf<mode, R>(re + b, im + b, k_re + b, k_im + b, twiddle);
  }

  int64_t N_;
  int R_;
  const T* twist_;
  const T* tables_[64] = {};
};

}  // namespace QF_ISA
}  // namespace quatrefoil
