// The modes of one channel, discretised: per-mode numbers in double precision, whatever the precision of the arrays.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/parallel.hpp"
#include "ssm/modes/args.hpp"
#include "ssm/modes/formula.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

// z_n^l = e^(l (log_re + i (log_im + low))) and, for each of M outputs, Cbar_n = C_n B_n b_n. n counts whole vectors: the modes added are 0
// with weight 0. A mode with an origin (DSS, Re A > 0) stands for z^(l - origin).
class Modes {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  Modes(int64_t N, int64_t M)
      : N(N),
        n(round_up(N, W)),
        M(M),
        memory_((8 + 2 * M) * n),
        log_re(memory_),
        log_im(memory_ + n),
        low(memory_ + 2 * n),
        z_re(memory_ + 3 * n),
        z_im(memory_ + 4 * n),
        b_re(memory_ + 5 * n),
        b_im(memory_ + 6 * n),
        origin(memory_ + 7 * n),
        c(memory_ + 8 * n) {}

  // README (1)-(4): z and b of one channel.
  template <class T>
  void discretise(T dt, const cplx<T>* A, Disc disc, int64_t L) {
    const V step = broadcast<V>(double(dt)), length = broadcast<V>(double(L));
    shifted = false;
    for (int64_t i = 0; i < n; i += W) {
      const cplx<V> a = load_first<V>(A + i, N - i);
      Pole<V> p;
      switch (disc) {
        case Disc::zoh: p = zoh(step, a); break;
        case Disc::bilinear: p = bilinear<sizeof(T) == 8>(step, a); break;
        case Disc::dss: p = dss(step, a, length); break;
      }
      put(i, p);
      if (disc == Disc::dss) {
        const V from = a.re > 0.0 ? V(length - 1.0) : V{};
        store(origin + i, from);
        shifted = shifted || sum(from) != 0;
      }
    }
  }
  // The poles are given: z = e^x, b = 1.
  template <class T>
  void exponentiate(const cplx<T>* x) {
    shifted = false;
    for (int64_t i = 0; i < n; i += W) {
      const cplx<V> log = load_first<V>(x + i, N - i);
      put(i, Pole<V>{log, V{}, exponential(log.re, log.im, V{}).value, {broadcast<V>(1.0), V{}}});
    }
  }
  // Cbar of output m.
  template <class T>
  void weigh(int64_t m, const cplx<T>* C, const cplx<T>* B) {
    for (int64_t i = 0; i < n; i += W) {
      cplx<V> w = load_first<V>(C + i, N - i);
      if (B) w = w * load_first<V>(B + i, N - i);
      set_weight(m, i, w * b(i));
    }
  }

  cplx<V> z(int64_t i) const { return load_complex<V>(z_re + i, z_im + i); }
  cplx<V> b(int64_t i) const { return load_complex<V>(b_re + i, b_im + i); }
  // B b, of the modes from i on; B may be null.
  template <class T>
  cplx<V> input(int64_t i, const cplx<T>* B) const {
    cplx<V> x = b(i);
    if (B) x = load_first<V>(B + i, N - i) * x;
    return x;
  }
  cplx<V> weight(int64_t m, int64_t i) const { return load_complex<V>(c + 2 * m * n + i, c + (2 * m + 1) * n + i); }
  void set_weight(int64_t m, int64_t i, cplx<V> w) { store_complex(c + 2 * m * n + i, c + (2 * m + 1) * n + i, w); }
  // Whether all powers from z^t on are below e^least and every weight is finite: the kernel is 0 from there on.
  bool faded(int64_t t, double least) const {
    bool yes = !shifted;
    for (int64_t i = 0; i < N && yes; ++i) yes = log_re[i] <= 0 && log_re[i] * double(t) < least;
    for (int64_t i = 0; i < 2 * M * n && yes; ++i) yes = c[i] - c[i] == 0;
    return yes;
  }
  // z^t of the modes from i on: the phase t log z in two doubles.
  QF_HD cplx<V> power(int64_t i, V t) const {
    const V im = load<V>(log_im + i), phase = im * t;
    V s, c;
    elementary::sin_cos(phase, V(multiply_add_exact(im, t, V(-phase)) + load<V>(low + i) * t), s, c);
    const V size = elementary::exp(V(load<V>(log_re + i) * t));
    return {size * c, size * s};
  }
  cplx<V> power(int64_t i, int64_t t) const { return power(i, broadcast<V>(double(t))); }

  const int64_t N, n, M;
  bool shifted = false;  // whether any mode has an origin

 private:
  void put(int64_t i, const Pole<V>& p) {
    store_complex(log_re + i, log_im + i, p.log);
    store(low + i, p.low);
    store_complex(z_re + i, z_im + i, p.z);
    store_complex(b_re + i, b_im + i, p.b);
  }
  Scratch<double> memory_;

 public:
  double *const log_re, *const log_im, *const low, *const z_re, *const z_im, *const b_re, *const b_im, *const origin, *const c;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
