// The adjoint of causal convolution, README (4): correlations, one channel at a time.
#pragma once
#include "ssm/convolution/rows.hpp"

namespace quatrefoil::ssm::convolution {
inline namespace QF_ISA {

// Sums in blocks, so that a float32 sum over a long row stays accurate.
template <class T>
double dot(const T* x, const T* y, int64_t n) {
  using V = Lanes<T>;
  constexpr int64_t kBlock = 1024;
  double total = 0;
  InterruptCheck check;
  for (int64_t i = 0; i < n; i += kBlock) {
    check(kBlock);
    V s{};
    for (int64_t j = i; j < min(n, i + kBlock); j += kLanes<T>) s += load_first<V>(x + j, n - j) * load_first<V>(y + j, n - j);
    total += double(sum(s));
  }
  return total;
}

// The adjoint of Channel, README (4). For each row, reads u and grad, writes du, and computes three transforms. The batch is summed in
// order.
template <class T>
class ChannelAdjoint {
 public:
  using V = Lanes<T>;
  ChannelAdjoint(const RightAngle<T>& fft, int64_t L) : fft_(fft), L_(L), N_(fft.length()), stride_(skewed<T>(N_)), work_(8 * stride_) {}

  // `next`: the first gradient, which is prefetched.
  [[gnu::noinline]] void set(const Taps<T>& taps, const T* next) {
    taps_ = taps;
    kernel_spectrum(fft_, taps, L_, at(0), at(1), next);
    set_zero(at(6), N_);
    set_zero(at(7), N_);
    dD_ = 0;
  }
  // Computes du of one row; adds it to du if `more`. `next`: the next gradient, or null.
  [[gnu::noinline]] void row(const T* u, const T* grad, T* du, bool more, const T* next) {
    T *const k_re = at(0), *const k_im = at(1), *const g_re = at(2), *const g_im = at(3);
    T *const u_re = at(4), *const u_im = at(5), *const sum_re = at(6), *const sum_im = at(7);
    const auto left = [&](int64_t at, int64_t count) { return min(count, L_ - at); };
    fft_.forward(grad, L_, g_re, g_im, [&](int64_t at, int64_t count) { fetch(u + at, left(at, count)); });
    fft_.through(
        u, L_, u_re, u_im, g_re, g_im,
        [&](int64_t i, cplx<V>* z, cplx<V> c) __attribute__((always_inline)) {
          const auto at_i = [&](const T* re, const T* im) { return fft::Block<T>(re + i, im + i); };
          const auto g = at_i(g_re, g_im);
          (at_i(sum_re, sum_im) + fft::correlation<T>(g.z, z, c)).store(sum_re + i, sum_im + i);
          fft::correlation<T>(g.z, at_i(k_re, k_im).z, c).put(z);
        },
        [&](int64_t l, V value, V, int64_t left) {
          if (taps_.D) value += load_first<V>(grad + l, left) * *taps_.D;
          if (more) value += load_first<V>(du + l, left);
          store_first(du + l, value, left);
        },
        [&](int64_t at, int64_t count) {
          fetch<true>(du + at, left(at, count));
          if (next) fetch(next + at, left(at, count));
        });
    if (taps_.D) dD_ += dot(u, grad, L_);
  }
  // Computes the gradients from the summed spectrum: Re at n is lag n, -Im at N - 1 - j is lag -(j + 1). dk_reverse and dD may be null.
  [[gnu::noinline]] void finish(T* dk, T* dk_reverse, T* dD) {
    const int64_t causal = min(taps_.Lk, L_), ahead = min(taps_.Lr, L_ - 1);
    set_zero(dk + causal, taps_.Lk - causal);
    if (!dk_reverse) {
      fft_.inverse(at(6), at(7), causal, [&](int64_t l, V value, V, int64_t left) { store_first(dk + l, value, left); });
    } else {
      set_zero(dk_reverse + ahead, taps_.Lr - ahead);
      T *const re = at(0), *const im = at(1);  // these overwrite the kernel's spectrum
      fft_.inverse(at(6), at(7), N_, [&](int64_t l, V value, V imag, int64_t) { store(re + l, value), store(im + l, imag); });
      __builtin_memcpy(dk, re, std::size_t(causal) * sizeof(T));
      for (int64_t j = 0; j < ahead; ++j) dk_reverse[j] = -im[N_ - 1 - j];
    }
    if (dD) *dD = T(dD_);
  }

 private:
  T* at(int i) const { return work_ + i * stride_; }
  const RightAngle<T>& fft_;
  const int64_t L_, N_, stride_;
  Scratch<T> work_;
  Taps<T> taps_{};
  double dD_ = 0;
};

template <class T>
void fft_conv_adjoint(const FftConvAdjoint<T>& p) {
  if (p.B * p.H * p.L == 0) {
    set_zero(p.dk, p.H * p.Lk);
    set_zero(p.dD, p.H);
    set_zero(p.dk_reverse, p.H * p.Lr);
    return;
  }
  const RightAngle<T> fft(p.L);
  parallel_for(p.H, p.threads, double((3 * p.B + 2) * fft.length()) * kTransformNs, [&](int64_t begin, int64_t end) {
    ChannelAdjoint<T> adjoint(fft, p.L);
    for (int64_t h = begin; h < end; ++h) {
      adjoint.set(channel_taps(p, h), p.grad + h * p.L);
      for (int64_t b = 0; b < p.B; ++b) {
        const int64_t row = (b * p.H + h) * p.L;
        adjoint.row(p.u + row, p.grad + row, p.du + row, false, b + 1 < p.B ? p.grad + row + p.H * p.L : nullptr);
      }
      adjoint.finish(p.dk + h * p.Lk, p.dk_reverse ? p.dk_reverse + h * p.Lr : nullptr, p.dD ? p.dD + h : nullptr);
    }
  });
}

// Compiled only by this method's cpu.cpp, like Channel.
extern template class ChannelAdjoint<float>;
extern template class ChannelAdjoint<double>;

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::convolution
