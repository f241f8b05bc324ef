// The discretised modes of one channel, in double precision for any precision of the arrays.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/parallel.hpp"
#include "ssm/modes/args.hpp"
#include "ssm/modes/formula.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

// One complex number per mode of a channel, as two arrays.
struct Split {
  using V = Lanes<double>;
  double *re, *im;
  cplx<V> operator[](int64_t i) const { return load_complex<V>(re + i, im + i); }
  void set(int64_t i, cplx<V> x) const { store_complex(re + i, im + i, x); }
  void add(int64_t i, cplx<V> x) const { set(i, (*this)[i] + x); }
};

// z_n^l = e^(l (log + i low)) and, for each of M outputs, Cbar_n = C_n B_n b_n. n is N rounded up to whole vectors; the added modes have
// weight 0. A mode with an origin (DSS, Re A > 0) stands for z^(l - origin).
class Modes {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  Modes(int64_t N, int64_t M)
      : N(N),
        n(round_up(N, W)),
        M(M),
        memory_((8 + 2 * M) * n),
        log_(part(0)),
        z_(part(1)),
        b_(part(2)),
        low_(memory_ + 6 * n),
        origin_(memory_ + 7 * n) {}

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
        store(origin_ + i, from);
        shifted = shifted || sum(from) != 0;
      }
    }
  }
  // z = e^x, b = 1.
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

  cplx<V> z(int64_t i) const { return z_[i]; }
  cplx<V> b(int64_t i) const { return b_[i]; }
  V origin(int64_t i) const { return load<V>(origin_ + i); }
  // B b of W modes, starting at i; B may be null.
  template <class T>
  cplx<V> input(int64_t i, const cplx<T>* B) const {
    cplx<V> x = b(i);
    if (B) x = load_first<V>(B + i, N - i) * x;
    return x;
  }
  cplx<V> weight(int64_t m, int64_t i) const { return part(4 + m)[i]; }
  void set_weight(int64_t m, int64_t i, cplx<V> w) { part(4 + m).set(i, w); }
  // Whether all powers from z^t on are below e^min_log and all weights are finite; the kernel is then 0 from t on.
  bool vanished(int64_t t, double min_log) const {
    bool yes = !shifted;
    for (int64_t i = 0; i < N && yes; ++i) yes = log_.re[i] <= 0 && log_.re[i] * double(t) < min_log;
    const double* const weights = part(4).re;
    for (int64_t i = 0; i < 2 * M * n && yes; ++i) yes = weights[i] - weights[i] == 0;
    return yes;
  }
  // z^t of W modes, starting at i.
  QF_HD cplx<V> power(int64_t i, V t) const { return raised(log_[i], load<V>(low_ + i), t); }
  cplx<V> power(int64_t i, int64_t t) const { return power(i, broadcast<V>(double(t))); }

  const int64_t N, n, M;
  bool shifted = false;  // whether any mode has an origin

 private:
  void put(int64_t i, const Pole<V>& p) {
    log_.set(i, p.log), z_.set(i, p.z), b_.set(i, p.b);
    store(low_ + i, p.low);
  }
  Split part(int64_t k) const { return {memory_ + 2 * k * n, memory_ + (2 * k + 1) * n}; }

  Scratch<double> memory_;
  const Split log_, z_, b_;
  double *const low_, *const origin_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
