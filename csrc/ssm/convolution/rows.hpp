// Causal convolution: direct sums for short rows, the right-angle FFT for all others.
#pragma once
#include "core/fft/right_angle.hpp"
#include "core/run/parallel.hpp"
#include "ssm/convolution/args.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::convolution {
inline namespace QF_ISA {

constexpr int64_t kDirectUpTo = 64;          // taps and samples; up to here L^2 / W multiply-adds are faster than the shortest transform
constexpr int64_t kFewChannels = 16;         // with fewer channels, the batch is split too, to occupy the threads
constexpr double kTransformNs = 1.2;         // per element and transform (estimate)
constexpr int64_t kInPlaceFrom = 256 << 10;  // bytes of a row; from here on y stores the spectrum's real part, to save L2 traffic

// The arrays of a spectrum are not a power of two apart; otherwise all streams of a pass over re and im would use the same sets of L1.
constexpr int64_t kSkewLines = 3, kSetBytes = 4096;  // addresses kSetBytes apart share a set
template <class T>
int64_t skewed(int64_t N) {
  return N + kSkewLines * 64 / int64_t(sizeof(T));
}

// The kernels of one channel; reverse and D may be null.
template <class T>
struct Taps {
  const T *k, *reverse, *D;
  int64_t Lk, Lr;
};
template <class T>
Taps<T> channel_taps(const FftConv<T>& p, int64_t h) {
  return {p.k + h * p.Lk, p.k_reverse ? p.k_reverse + h * p.Lr : nullptr, p.D ? p.D + h : nullptr, p.Lk, p.Lr};
}

// README (1). Reads u and the kernels once; writes y once. All shifted loads hit L1. `padded` has zeros on both sides of L elements.
template <class T>
struct Padded {
  static constexpr int64_t kMargin = kDirectUpTo + kLanes<T>;
  alignas(64) T data[3 * kDirectUpTo + 3 * kLanes<T>] = {};
};
template <class T>
void convolve_direct(const Taps<T>& taps, const T* u, int64_t L, Padded<T>& padded, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  T* const x = padded.data + Padded<T>::kMargin;
  const int64_t ahead = taps.reverse ? min(taps.Lr, L - 1) : 0;
  __builtin_memcpy(x, u, std::size_t(L) * sizeof(T));
  for (int64_t l = 0; l < L; l += W) {
    V sum = load<V>(x + l) * (taps.D ? *taps.D : T(0));
    const int64_t causal = min(min(taps.Lk, L), l + W);
    for (int64_t j = 0; j < causal; ++j) sum += load<V>(x + l - j) * taps.k[j];
    for (int64_t j = 0; j < ahead; ++j) sum += load<V>(x + l + 1 + j) * taps.reverse[j];
    store_first(y + l, sum, L - l);
  }
}

// README (2): the spectrum of k_n - i k_reverse_{N-1-n}. Without k_reverse, prefetches `next`, the row that is read after the taps.
template <class T>
void kernel_spectrum(const RightAngle<T>& fft, const Taps<T>& taps, int64_t L, T* re, T* im, const T* next) {
  const int64_t N = fft.length(), causal = min(taps.Lk, L);
  if (!taps.reverse) {
    fft.forward(taps.k, causal, re, im, [&](int64_t at, int64_t count) { fetch(next + at, min(count, L - at)); });
    return;
  }
  __builtin_memcpy(re, taps.k, std::size_t(causal) * sizeof(T));
  set_zero(re + causal, N - causal);
  set_zero(im, N);
  for (int64_t j = 0; j < min(taps.Lr, L - 1); ++j) im[N - 1 - j] = -taps.reverse[j];
  fft.forward(re, im);
}

// How to transform a row of L samples: whole, or without its last `rest` samples. README (3) computes these with a shorter transform if
// that costs less than the padding. Rows with k_reverse are always transformed whole.
struct Cut {
  fft::Length length;
  int64_t rest;
};
template <class T>
Cut row_cut(int64_t L, bool reverse) {
  // Relative cost per element of the last part: three transforms and two products instead of two transforms and one product.
  constexpr double kRest = 2.2;
  const fft::Length whole = fft::padded_length<T>(L), filled = fft::filled_length<T>(L);
  if (reverse || !filled.N || double(filled.N) + kRest * double(fft::padded_length<T>(L - filled.N).N) > 0.95 * double(whole.N))
    return {whole, 0};
  return {filled, L - filled.N};
}

// Convolves the rows of one channel by FFT. For each row, reads u once (twice with D), writes y once, and prefetches y and the next row
// (which saves a fifth of the time for rows of 4096). The spectra (4 N elements) stay in cache; the kernel's is computed once per channel.
template <class T>
class Channel {
 public:
  using V = Lanes<T>;
  Channel(int64_t L, bool reverse) : Channel(L, row_cut<T>(L, reverse)) {}

  // `next`: the first row.
  [[gnu::noinline]] void set(const Taps<T>& taps, const T* next) {
    kernel_spectrum(fft_, taps, L_ - rest_, k_re(), k_im(), next);
    D_ = taps.D;
    if (!rest_) return;
    const int64_t from = min(L_ - rest_, taps.Lk);
    rest_fft_.forward(taps.k, min(rest_, taps.Lk), rest_array(0), rest_array(1));
    rest_fft_.forward(taps.k + from, min(rest_, taps.Lk - from), rest_array(2), rest_array(3));
  }
  // `next`: the following row or taps, or null.
  [[gnu::noinline]] void apply(const T* u, T* y, const T* next) {
    T *const y_rest = y + L_ - rest_, *const own = work_ + 2 * stride_;
    const bool in_place = L_ == fft_.length() && L_ * int64_t(sizeof(T)) >= kInPlaceFrom && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
    fft_.convolve(
        u, L_ - rest_, k_re(), k_im(), in_place ? y : own, in_place ? next_sets(y, own) : own + stride_,
        [&](int64_t l, V value, V wrapped, int64_t left) {
          if (l < rest_) store_first(y_rest + l, wrapped, rest_ - l);
          if (D_) value += load_first<V>(u + l, left) * *D_;
          store_first(y + l, value, left);
        },
        [&](int64_t at, int64_t count) {
          count = min(count, L_ - at);
          fetch<true>(y + at, count);
          if (next) fetch(next + at, count);
        });
    if (rest_) add_rest(u, u + L_ - rest_, y_rest);
  }

 private:
  Channel(int64_t L, Cut cut)
      : fft_(cut.length),
        rest_fft_(cut.rest),
        L_(L),
        rest_(cut.rest),
        stride_(skewed<T>(fft_.length())),
        rest_stride_(rest_ ? skewed<T>(rest_fft_.length()) : 0),
        work_(4 * stride_ + 8 * rest_stride_) {}

  // The first address at or after `from` whose L1 sets follow those of y.
  static T* next_sets(const T* y, T* from) {
    const auto off = reinterpret_cast<std::uintptr_t>(y) - reinterpret_cast<std::uintptr_t>(from) + kSkewLines * 64;
    return from + off % kSetBytes / sizeof(T);
  }
  // README (3) for a row that begins with u and ends with u_rest.
  void add_rest(const T* u, const T* u_rest, T* y_rest) {
    T *const re = rest_array(4), *const im = rest_array(5), *const u_re = rest_array(6), *const u_im = rest_array(7);
    rest_fft_.forward(u, rest_, u_re, u_im);
    rest_fft_.through(
        u_rest, rest_, re, im, re, im,
        [&](int64_t i, cplx<V>* z, cplx<V> c) __attribute__((always_inline)) {
          const auto at_i = [&](int k) { return fft::Block<T>(rest_array(k) + i, rest_array(k + 1) + i); };
          (fft::product<T>(z, at_i(0).z, c) + fft::product<T>(at_i(6).z, at_i(2).z, c)).put(z);
        },
        [&](int64_t l, V value, V, int64_t left) {
          value += load_first<V>(y_rest + l, left);
          if (D_) value += load_first<V>(u_rest + l, left) * *D_;
          store_first(y_rest + l, value, left);
        });
  }
  T* k_re() const { return work_; }
  T* k_im() const { return work_ + stride_; }
  T* rest_array(int i) const { return work_ + 4 * stride_ + i * rest_stride_; }  // 0-3: spectra of the taps; 4-7: work

  const RightAngle<T> fft_, rest_fft_;
  const int64_t L_, rest_, stride_, rest_stride_;
  Scratch<T> work_;
  const T* D_ = nullptr;
};

// The number of parts into which a channel's batch is split.
inline int64_t batch_cuts(int64_t B, int64_t H) { return H >= kFewChannels ? 1 : min(B, (kFewChannels + H - 1) / H); }

template <class T>
void fft_conv(const FftConv<T>& p) {
  if (p.B * p.H * p.L == 0) return;
  if (p.L <= kDirectUpTo) {
    parallel_for(p.B * p.H, p.threads, double(p.L * (min(p.Lk, p.L) + p.Lr) / kLanes<T> + 20), [&](int64_t begin, int64_t end) {
      Padded<T> padded;
      for (int64_t row = begin; row < end; ++row)
        convolve_direct(channel_taps(p, row % p.H), p.u + row * p.L, p.L, padded, p.y + row * p.L);
    });
    return;
  }
  const int64_t cuts = batch_cuts(p.B, p.H);
  const double rows = double(p.B) / double(cuts);
  parallel_for(p.H * cuts, p.threads, (2 * rows + 1) * double(p.L) * kTransformNs, [&](int64_t begin, int64_t end) {
    Channel<T> convolution(p.L, p.k_reverse != nullptr);
    for (int64_t item = begin, channel = -1; item < end; ++item) {
      const int64_t h = item / cuts, cut = item % cuts;
      const int64_t first = p.B * cut / cuts, rows_end = p.B * (cut + 1) / cuts;
      if (channel != h) convolution.set(channel_taps(p, h), p.u + (first * p.H + h) * p.L);
      channel = h;
      for (int64_t b = first; b < rows_end; ++b) {
        const T* const u = p.u + (b * p.H + h) * p.L;
        const T* const next = b + 1 < rows_end ? u + p.H * p.L : h + 1 < p.H ? p.k + (h + 1) * p.Lk : nullptr;
        convolution.apply(u, p.y + (b * p.H + h) * p.L, next);
      }
    }
  });
}

// Compiled only by this method's cpu.cpp.
extern template class Channel<float>;
extern template class Channel<double>;

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::convolution
