// Causal convolution: sums of products for short rows, the right-angle FFT for all others.
#pragma once
#include "core/parallel.hpp"
#include "core/right_angle.hpp"
#include "ssm/args_convolution.hpp"
#include "ssm/formula.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

constexpr int64_t kDirectUpTo = 64;   // taps and samples: below it L^2 / W multiply-adds beat the shortest transform
constexpr int64_t kFewChannels = 16;  // with fewer, the batch is cut too, so that threads have work
constexpr double kTransformNs = 1.2;  // one number through one transform

template <class T>
T skip_weight(const T* D, int64_t h) {
  return D ? D[h] : T(0);
}

// README (1). Reads u and the kernels once, writes y once; all shifts hit L1.
template <class T>
void convolve_direct(const FftConv<T>& p, const T* u, int64_t h, T* padded, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  T* const x = padded + kDirectUpTo + W;  // zeros on both sides
  const T* const k = p.k + h * p.Lk;
  const T* const kr = p.k_reverse + (p.k_reverse ? h * p.Lr : 0);
  const int64_t ahead = p.k_reverse ? min(p.Lr, p.L - 1) : 0;
  __builtin_memcpy(x, u, std::size_t(p.L) * sizeof(T));
  for (int64_t l = 0; l < p.L; l += W) {
    V sum = load<V>(x + l) * skip_weight(p.D, h);
    const int64_t taps = min(min(p.Lk, p.L), l + W);
    for (int64_t j = 0; j < taps; ++j) sum += load<V>(x + l - j) * k[j];
    for (int64_t j = 0; j < ahead; ++j) sum += load<V>(x + l + 1 + j) * kr[j];
    store_first(y + l, sum, p.L - l);
  }
}

// README (2): the spectrum of k_n - i k_reverse_{N-1-n}, which acts on both sides at once.
template <class T>
void kernel_spectrum(const RightAngle<T>& fft, const FftConv<T>& p, int64_t h, T* re, T* im) {
  const int64_t N = fft.length(), causal = min(p.Lk, p.L);
  if (!p.k_reverse) {
    fft.forward(p.k + h * p.Lk, causal, re, im);
    return;
  }
  __builtin_memcpy(re, p.k + h * p.Lk, std::size_t(causal) * sizeof(T));
  __builtin_memset(re + causal, 0, std::size_t(N - causal) * sizeof(T));
  __builtin_memset(im, 0, std::size_t(N) * sizeof(T));
  const T* kr = p.k_reverse + h * p.Lr;
  for (int64_t j = 0; j < min(p.Lr, p.L - 1); ++j) im[N - 1 - j] = -kr[j];
  fft.forward(re, im);
}

// Per row: reads u twice, writes y once; the spectrum (2N numbers) stays in cache, the kernel's is made once a channel.
template <class T>
void fft_conv(const FftConv<T>& p) {
  using V = Lanes<T>;
  if (p.B * p.H * p.L == 0) return;
  if (p.L <= kDirectUpTo) {
    constexpr int64_t room = 3 * kDirectUpTo + 3 * kLanes<T>;
    parallel_for(p.B * p.H, p.threads, double(p.L * (min(p.Lk, p.L) + p.Lr) / kLanes<T> + 20), [&](int64_t begin, int64_t end) {
      alignas(64) T padded[room] = {};
      for (int64_t row = begin; row < end; ++row) convolve_direct(p, p.u + row * p.L, row % p.H, padded, p.y + row * p.L);
    });
    return;
  }
  const RightAngle<T> fft(p.L);
  const int64_t N = fft.length();
  const int64_t cuts = p.H >= kFewChannels ? 1 : min(p.B, (kFewChannels + p.H - 1) / p.H);
  const double rows = double(p.B) / double(cuts);
  parallel_for(p.H * cuts, p.threads, (2 * rows + 1) * double(N) * kTransformNs, [&](int64_t begin, int64_t end) {
    Scratch<T> work(4 * N);
    T *k_re = work, *k_im = work + N, *re = work + 2 * N, *im = work + 3 * N;
    int64_t spectrum_of = -1;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / cuts, cut = item % cuts;
      if (spectrum_of != h) kernel_spectrum(fft, p, h, k_re, k_im);
      spectrum_of = h;
      for (int64_t b = p.B * cut / cuts; b < p.B * (cut + 1) / cuts; ++b) {
        const T* u = p.u + (b * p.H + h) * p.L;
        T* y = p.y + (b * p.H + h) * p.L;
        const T skip = skip_weight(p.D, h);
        fft.convolve(u, p.L, k_re, k_im, re, im, [&](int64_t l, V value, V, int64_t left) {
          if (p.D) value += load_first<V>(u + l, left) * skip;
          store_first(y + l, value, left);
        });
      }
    }
  });
}

// In blocks, so that a float32 sum over a long row keeps its digits.
template <class T>
double dot(const T* x, const T* y, int64_t n) {
  using V = Lanes<T>;
  constexpr int64_t kBlock = 1024;
  double total = 0;
  for (int64_t i = 0; i < n; i += kBlock) {
    V s{};
    for (int64_t j = i; j < min(n, i + kBlock); j += kLanes<T>) s += load_first<V>(x + j, n - j) * load_first<V>(y + j, n - j);
    total += double(sum(s));
  }
  return total;
}

template <class T>
void store_zeros(T* x, int64_t n) {
  if (n > 0) __builtin_memset(x, 0, std::size_t(n) * sizeof(T));
}

// dk and dk_reverse from the summed spectrum (README (3)): Re at n is lag n, -Im at N - 1 - j is lag -(j + 1).
template <class T>
void kernel_gradient(const RightAngle<T>& fft, const FftConvVjp<T>& p, int64_t h, T* re, T* im) {
  using V = Lanes<T>;
  const FftConv<T>& f = p.forward;
  const int64_t N = fft.length(), causal = min(f.Lk, f.L), ahead = min(f.Lr, f.L - 1);
  T* dk = p.dk + h * f.Lk;
  store_zeros(dk + causal, f.Lk - causal);
  if (!p.dk_reverse) {
    fft.inverse(re, im, causal, [&](int64_t l, V value, V, int64_t left) { store_first(dk + l, value, left); });
    return;
  }
  T* dkr = p.dk_reverse + h * f.Lr;
  store_zeros(dkr + ahead, f.Lr - ahead);
  fft.inverse(re, im, N, [&](int64_t l, V value, V imag, int64_t) {
    if (l < causal) store_first(dk + l, value, causal - l);
    for (int i = 0; i < kLanes<T>; ++i)
      if (const int64_t j = N - 1 - (l + i); j < ahead) dkr[j] = -imag[i];
  });
}

// Per row: three transforms; reads u and grad, writes du. The batch is summed in its order, so dk has the same bits for any thread count.
template <class T>
void fft_conv_vjp(const FftConvVjp<T>& p) {
  using V = Lanes<T>;
  const FftConv<T>& f = p.forward;
  if (f.B * f.H * f.L == 0) {
    store_zeros(p.dk, f.H * f.Lk);
    if (p.dD) store_zeros(p.dD, f.H);
    if (p.dk_reverse) store_zeros(p.dk_reverse, f.H * f.Lr);
    return;
  }
  const RightAngle<T> fft(f.L);
  const int64_t N = fft.length();
  parallel_for(f.H, f.threads, double((3 * f.B + 2) * N) * kTransformNs, [&](int64_t begin, int64_t end) {
    Scratch<T> work(8 * N);
    T *k_re = work, *k_im = work + N, *g_re = work + 2 * N, *g_im = work + 3 * N;
    T *u_re = work + 4 * N, *u_im = work + 5 * N, *sum_re = work + 6 * N, *sum_im = work + 7 * N;
    for (int64_t h = begin; h < end; ++h) {
      kernel_spectrum(fft, f, h, k_re, k_im);
      store_zeros(sum_re, 2 * N);
      double dD = 0;
      for (int64_t b = 0; b < f.B; ++b) {
        const int64_t row = (b * f.H + h) * f.L;
        const T *u = f.u + row, *grad = p.grad + row;
        fft.forward(grad, f.L, g_re, g_im);
        fft.forward(u, f.L, u_re, u_im);
        for (int64_t i = 0; i < N; i += kLanes<T>) {
          const V re = load<V>(g_re + i), im = load<V>(g_im + i);
          V s_re = re, s_im = im, d_re = re, d_im = im;
          multiply_conj(s_re, s_im, load<V>(u_re + i), load<V>(u_im + i));
          multiply_conj(d_re, d_im, load<V>(k_re + i), load<V>(k_im + i));
          store(sum_re + i, load<V>(sum_re + i) + s_re);
          store(sum_im + i, load<V>(sum_im + i) + s_im);
          store(g_re + i, d_re);
          store(g_im + i, d_im);
        }
        const T skip = skip_weight(f.D, h);
        fft.inverse(g_re, g_im, f.L, [&](int64_t l, V value, V, int64_t left) {
          if (f.D) value += load_first<V>(grad + l, left) * skip;
          store_first(p.du + row + l, value, left);
        });
        if (p.dD) dD += dot(u, grad, f.L);
      }
      kernel_gradient(fft, p, h, sum_re, sum_im);
      if (p.dD) p.dD[h] = T(dD);
    }
  });
}

template <class T>
constexpr ConvolutionKernels<T> kConvolution = {fft_conv<T>, fft_conv_vjp<T>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
