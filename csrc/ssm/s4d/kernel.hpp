// Kernels of diagonal state-space models and their gradients. README (1), modes README (1)-(11).
#pragma once
#include "ssm/modes/moments.hpp"

namespace quatrefoil::ssm::s4d {
using namespace modes;
inline namespace QF_ISA {

// The modes of channel h, with the weights of its outputs.
template <class T>
void set_channel(Modes& modes, const Model<T>& p, int64_t h) {
  modes.discretise(p.dt[h], p.A + h * p.N, p.disc, p.L);
  for (int64_t m = 0; m < p.M; ++m) modes.weigh(m, p.C + (m * p.H + h) * p.N, p.B ? p.B + h * p.N : nullptr);
}

// The kernel of one channel, for all its outputs: set a channel, then evaluate any range of it.
template <class T>
class ChannelKernel {
 public:
  explicit ChannelKernel(const Model<T>& p) : p_(p), modes_(p.N, p.M), sum_(modes_.n, p.M, p.L) {}
  void set(int64_t h) {
    set_channel(modes_, p_, h);
    sum_.prepare(modes_, pair_factor(p_.disc));
  }
  // out[m stride + l - begin] = K_l, begin <= l < begin + count.
  void evaluate(int64_t begin, int64_t count, T* out, int64_t stride) { sum_.evaluate(modes_, begin, count, out, stride); }
  const Modes& modes() const { return modes_; }

 private:
  const Model<T>& p_;
  Modes modes_;
  Vandermonde<T> sum_;
};

// Gradients of log z, the input weight B b and every C from the states of one channel, in addition to those from the kernel.
class ModeTerms {
 public:
  using V = Modes::V;
  ModeTerms(int64_t n, int64_t M) : n_(n), M_(M), memory_((2 + M) * 2 * n) {}
  void clear() { set_zero<double>(memory_, (2 + M_) * 2 * n_); }
  int64_t log() const { return 0; }
  int64_t input() const { return 1; }
  int64_t C(int64_t m) const { return 2 + m; }
  cplx<V> get(int64_t term, int64_t i) const { return load_complex<V>(memory_ + (term * n_ + i) * 2); }
  void add(int64_t term, int64_t i, cplx<V> value) { store_complex(memory_ + (term * n_ + i) * 2, get(term, i) + value); }

 private:
  const int64_t n_, M_;
  Scratch<double> memory_;
};

// modes README (10), (11): computes the gradients of dt, A, B, C of channel h from the moments of the kernel's gradient.
template <class T>
void channel_adjoint(const Modes& modes, const ModelAdjoint<T>& p, int64_t h, const double* S, const ModeTerms* more = nullptr) {
  using V = Modes::V;
  const Model<T>& f = p.forward;
  const V dt = broadcast<V>(double(f.dt[h])), factor = broadcast<V>(pair_factor(f.disc)), length = broadcast<V>(double(f.L));
  V g_dt{};
  for (int64_t i = 0; i < modes.n; i += Modes::W) {
    const int64_t at = h * f.N + i, left = f.N - i;
    const cplx<V> a = load_first<V>(f.A + at, left), b = modes.b(i);
    cplx<V> input{broadcast<V>(1.0), V{}};
    if (f.B) input = load_first<V>(f.B + at, left);
    cplx<V> g_log{}, g_b{}, g_B{};
    if (more) {
      const cplx<V> g_input = more->get(more->input(), i);
      g_log = more->get(more->log(), i);
      g_b = conjugate(input) * g_input;
      g_B = conjugate(b) * g_input;
    }
    for (int64_t m = 0; m < f.M; ++m) {
      const cplx<V> c = load_first<V>(f.C + m * f.H * f.N + at, left), g = scaled(conjugate(moment(modes, S, m, i, 0)), factor);
      g_log = g_log + scaled(conjugate(modes.weight(m, i) * moment(modes, S, m, i, 1)), factor);
      g_b = g_b + conjugate(c * input) * g;
      g_B = g_B + conjugate(c * b) * g;
      const cplx<V> g_C = conjugate(input * b) * g;
      store_first(p.dC + m * f.H * f.N + at, more ? g_C + more->get(more->C(m), i) : g_C, left);
    }
    const PoleAdjoint<V> pole = f.disc == Disc::zoh        ? zoh_adjoint(dt, a, g_log, g_b)
                                : f.disc == Disc::bilinear ? bilinear_adjoint(dt, a, modes.z(i), g_log, g_b)
                                                           : dss_adjoint(dt, a, length, g_log, g_b);
    g_dt += pole.dt;
    store_first(p.dA + at, pole.A, left);
    if (p.dB) store_first(p.dB + at, g_B, left);
  }
  p.ddt[h] = T(sum(g_dt));
}

template <class T>
void kernel(const Model<T>& p) {
  if (p.M * p.H * p.L == 0) return;
  sum_rows<T>(
      p.H, p.M, p.N, p.L, pair_factor(p.disc), p.threads, [&](Modes& modes, int64_t h) { set_channel(modes, p, h); },
      [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
        sum.evaluate(modes, first, count, p.K + h * p.L + first, p.H * p.L);
      });
}

template <class T>
void kernel_adjoint(const ModelAdjoint<T>& p) {
  const Model<T>& f = p.forward;
  moments_of_rows<T>(
      f.H, f.M, f.N, f.L, f.threads, [&](Modes& modes, int64_t h) { set_channel(modes, f, h); },
      [&](int64_t m, int64_t h, int64_t first, int64_t, T*) { return p.grad + (m * f.H + h) * f.L + first; },
      [&](const Modes& modes, int64_t h, const double* S) { channel_adjoint(modes, p, h, S); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
