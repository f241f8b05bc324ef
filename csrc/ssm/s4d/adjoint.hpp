// Gradients of the layer: the convolution by FFT, the modes by moments of the kernel's gradient, the states by moments of the rows. README
// (8)-(11).
#pragma once
#include "ssm/convolution/adjoint.hpp"
#include "ssm/s4d/layer.hpp"

namespace quatrefoil::ssm::s4d {
inline namespace QF_ISA {

// The contribution of the states to one channel's gradient.
template <class T>
class StateAdjoint {
 public:
  using V = Modes::V;
  static constexpr int W = Modes::W;

  explicit StateAdjoint(const LayerAdjoint<T>& p)
      : p_(p),
        f_(p.forward),
        q_(p.forward.model),
        modes_(q_.N, 1),
        sums_(modes_.n, 1, q_.L),
        moments_(modes_.n, q_.L),
        terms_(modes_.n, q_.M),
        S_(4 * modes_.n * max<int64_t>(q_.M, 1)),
        buffer_(q_.L) {}

  const ModeTerms& terms() const { return terms_; }

  void set(int64_t h) {
    modes_.discretise(q_.dt[h], q_.A + h * q_.N, q_.disc, q_.L);
    moments_.prepare(modes_);
    terms_.clear();
  }

  void row(int64_t b, int64_t h) {
    const int64_t at = (b * q_.H + h) * q_.N;
    if (f_.start) {
      for (int64_t m = 0; m < q_.M; ++m) measure(p_.grad + ((b * q_.M + m) * q_.H + h) * q_.L, m);
      for (int64_t i = 0; i < modes_.n; i += W) from_output(i, h, at);
    }
    if (p_.grad_last) {
      for (int64_t l = 0; l < q_.L; ++l) buffer_[l] = f_.u[(b * q_.H + h) * q_.L + q_.L - 1 - l];
      measure(buffer_, 0);
      for (int64_t i = 0; i < modes_.n; i += W) from_last(i, h, at);
      sums_.prepare(modes_, 1.0);
      sums_.evaluate(modes_, 0, q_.L, buffer_, q_.L);
      T* const du = p_.du + (b * q_.H + h) * q_.L;
      for (int64_t l = 0; l < q_.L; ++l) du[l] += buffer_[q_.L - 1 - l];
    }
  }

 private:
  void measure(const T* row, int64_t m) {
    double* const S = S_ + m * 4 * modes_.n;
    set_zero(S, 4 * modes_.n);
    moments_.add(modes_, row, 0, q_.L, S);
  }
  // y_l += 2 Re sum C z^(l + 1) s.
  void from_output(int64_t i, int64_t h, int64_t at) {
    const int64_t left = q_.N - i;
    const cplx<V> s = load_first<V>(f_.start + at + i, left), z = modes_.z(i);
    const V two = broadcast<V>(2.0);
    cplx<V> ds{};
    for (int64_t m = 0; m < q_.M; ++m) {
      const cplx<V> c = load_first<V>(q_.C + (m * q_.H + h) * q_.N + i, left);
      const cplx<V> s0 = moment(modes_, S_, m, i, 0), s1 = moment(modes_, S_, m, i, 1);
      ds = ds + scaled(conjugate(c * z * s0), two);
      terms_.add(terms_.C(m), i, scaled(conjugate(s * z * s0), two));
      terms_.add(terms_.log(), i, scaled(conjugate(c * s * z * (s0 + s1)), two));
    }
    store_first(p_.dstart + at + i, ds, left);
  }
  // last = z^L s + sum_j z^(L - 1 - j) B b u_j; sets the weights conj(g) B b for du.
  void from_last(int64_t i, int64_t h, int64_t at) {
    const int64_t left = q_.N - i;
    const cplx<V> g = load_first<V>(p_.grad_last + at + i, left);
    const cplx<V> fed = modes_.input(i, q_.B ? q_.B + h * q_.N : nullptr);
    terms_.add(terms_.input(), i, conjugate(moment(modes_, S_, 0, i, 0)) * g);
    cplx<V> inner = fed * moment(modes_, S_, 0, i, 1);
    if (f_.start) {
      const cplx<V> power = modes_.power(i, q_.L);
      inner = inner + scaled(power * load_first<V>(f_.start + at + i, left), broadcast<V>(double(q_.L)));
      store_first(p_.dstart + at + i, load_first<V>(p_.dstart + at + i, left) + conjugate(power) * g, left);
    }
    terms_.add(terms_.log(), i, conjugate(inner) * g);
    modes_.set_weight(0, i, conjugate(g) * fed);
  }

  const LayerAdjoint<T>& p_;
  const Layer<T>& f_;
  const Model<T>& q_;
  Modes modes_;
  Vandermonde<T> sums_;
  Moments<T> moments_;
  ModeTerms terms_;
  Scratch<double> S_;
  Scratch<T> buffer_;
};

// Per channel: three transforms per row, with the kernel and its gradient in cache; then the moments. The batch is summed in order.
template <class T>
void layer_adjoint(const LayerAdjoint<T>& p) {
  const Layer<T>& f = p.forward;
  const Model<T>& q = f.model;
  const int64_t outputs = f.outputs(), states = f.B * q.H * q.N;
  if (outputs == 0) set_zero(p.du, f.B * q.H * q.L);
  if (f.B * q.H * q.L == 0 || (outputs == 0 && !p.grad_last)) {
    set_zero(p.model.ddt, q.H);
    set_zero(p.model.dA, q.H * q.N);
    set_zero(p.model.dC, q.M * q.H * q.N);
    set_zero(p.model.dB, q.H * q.N);
    set_zero(p.dD, outputs * q.H);
    for (int64_t i = 0; p.dstart && i < states; ++i) p.dstart[i] = p.grad_last ? p.grad_last[i] : cplx<T>{};
    return;
  }
  const RightAngle<T> fft(q.L);
  const bool with_states = f.start || p.grad_last;
  const double work = double((3 * f.B + 2) * fft.length()) * kTransformNs + double(q.M * 6 * q.N) * double(q.L) * kMultiplyAddNs<T>;
  parallel_for(q.H, q.threads, double(outputs) * work, [&](int64_t begin, int64_t end) {
    ChannelKernel<T> kernel(q);
    Scratch<T> K(q.M * q.L);  // later overwritten by its gradient
    convolution::ChannelAdjoint<T> adjoint(fft, q.L);
    const Modes& modes = kernel.modes();
    Moments<T> moments(modes.n, q.L);
    Scratch<double> S(4 * modes.n * max<int64_t>(q.M, 1));
    StateAdjoint<T> state(p);
    for (int64_t h = begin; h < end; ++h) {
      kernel.set(h);
      whole_kernel<T>(kernel, q.L, K);
      for (int64_t m = 0; m < outputs; ++m) {
        adjoint.set(layer_taps<T>(f, K, m, h), p.grad + (m * q.H + h) * q.L);
        for (int64_t b = 0; b < f.B; ++b) {
          const int64_t at = (b * q.H + h) * q.L;
          const T* const grad = p.grad + ((b * outputs + m) * q.H + h) * q.L;
          adjoint.row(f.u + at, grad, p.du + at, m > 0, b + 1 < f.B ? grad + outputs * q.H * q.L : nullptr);
        }
        adjoint.finish(K + m * q.L, f.both ? K + q.L : nullptr, p.dD ? p.dD + m * q.H + h : nullptr);
      }
      if (f.both) K[2 * q.L - 1] = 0;  // beyond the last sample
      set_zero<double>(S, 4 * modes.n * q.M);
      moments.prepare(modes);
      for_whole_row<T>(modes, q.L, [&](int64_t first, int64_t count) {
        for (int64_t m = 0; m < q.M; ++m) moments.add(modes, K + m * q.L + first, first, count, S + 4 * modes.n * m);
      });
      if (with_states) {
        state.set(h);
        for (int64_t b = 0; b < f.B; ++b) state.row(b, h);
      }
      channel_adjoint<T>(modes, p.model, h, S, with_states ? &state.terms() : nullptr);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
