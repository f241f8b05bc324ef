// Transforms along long axes, whatever the factors of n - 1, by one convolution with a chirp per pencil (6), (7).
#pragma once
#include "cheb/transform/folds.hpp"
#include "core/fft/right_angle.hpp"

namespace quatrefoil::cheb::transform {
inline namespace QF_ISA {

// A chirp takes as long as kChirpWorth M log2 M multiply-adds of a matrix product: measured as 10 in float64 with 64-byte vectors, 11 with
// 32, 7 with 16 (README, Measured).
constexpr double kChirpWorth = 10;

// Fills the table: w_0, ..., w_N as cosines, then as sines; then the spectrum of (6), real parts first.
template <class T>
void fill_chirp(void* data, const TableKey& key) {
  const int64_t n = key.n, N = n - 1, size = round_up(n, int64_t(kLanes<T>));
  const RightAngle<T> fft(2 * N + 1);
  const int64_t M = fft.length();
  T *const c = static_cast<T*>(data), *const s = c + size, *const re = s + size, *const im = re + M;
  set_zero(c, 2 * size + 2 * M);
  InterruptCheck check;
  for (int64_t m = 0; m <= N; ++m) {
    check(fft::kRootNs);
    double cosine, sine;
    fft::unit_root(chirp_angle(m, N), 4 * N, cosine, sine);
    c[m] = T(cosine), s[m] = T(sine);
    re[m] = T(cosine), im[m] = T(-sine);
    if (m > 0) re[M - m] = T(-sine), im[M - m] = T(-cosine);  // x^-m is x^(M - m) / i
  }
  fft.forward(re, im);
}

template <class T>
class Chirp {
 public:
  explicit Chirp(const Transform<T>& p)
      : p_(p),
        ends_(p),
        n_(p.n),
        size_(round_up(n_, int64_t(kLanes<T>))),
        fft_(2 * p.n - 1),
        table_({kChirpTable, kLanes<T>, int(sizeof(T)), n_}, 2 * size_ + 2 * fft_.length(), &fill_chirp<T>),
        c_(table_),
        s_(c_ + size_),
        re_(s_ + size_),
        im_(re_ + fft_.length()) {}

  // The relative cost of the transforms: M log2 M.
  static double size(int64_t n) {
    const int64_t M = fft::padded_length<T>(2 * n - 1).N;
    return double(M) * double(fft::log2_of(M));
  }

  // Per pencil: reads n elements and writes n, using 2M elements in L2, where M is between 2n and 8n / 3. Contiguous pencils are read and
  // written one vector at a time.
  void run() const {
    const int64_t M = fft_.length(), pencils = p_.before * p_.after, width = p_.after > 1 ? kLanes<T> : 1;
    const double ns = double(width) * kChirpWorth * this->size(n_) * kMultiplyAddNs<T>;
    parallel_for((pencils + width - 1) / width, p_.threads, ns, [&](int64_t begin, int64_t end) {
      const Scratch<T> workspace(width * size_ + 2 * M);
      T* const re = workspace + width * size_;
      for (int64_t i = begin; i < end; ++i) {
        const Block<T> block{n_, p_.after, i * width, min(width, pencils - i * width), size_};
        gather_rows(block, p_.x, static_cast<T*>(workspace));
        for (int64_t q = 0; q < block.count; ++q) one_pencil(workspace + q * size_, re, re + M);
        scatter_rows(block, ends_, static_cast<const T*>(workspace), p_.y);
      }
    });
  }

 private:
  void one_pencil(T* u, T* re, T* im) const {
    using V = Lanes<T>;
    const int64_t M = fft_.length();
    if (p_.interpolates) u[0] *= T(0.5), u[n_ - 1] *= T(0.5);
    in_parts(0, n_, fft::kNumberNs, [&](int64_t j, int64_t end) __attribute__((always_inline)) {
      for (; j < end; ++j) re[j] = u[j] * c_[j], im[j] = u[j] * s_[j];
    });
    set_zero(re + n_, M - n_), set_zero(im + n_, M - n_);
    fft_.convolve(re, im, n_, re_, im_, [=](int64_t k, V real, V imag, int64_t count) {
      store_first(u + k, real_part(load<V>(c_ + k), load<V>(s_ + k), real, imag), count);
    });
  }

  const Transform<T>& p_;
  Ends<T> ends_;
  int64_t n_, size_;
  RightAngle<T> fft_;
  const CachedTable<T> table_;
  const T *c_, *s_, *re_, *im_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::transform
