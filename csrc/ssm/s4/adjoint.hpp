// The adjoint of the recurrence of a diagonal plus low-rank system. README (6)-(8).
#pragma once
#include "ssm/s4/dplr.hpp"

namespace quatrefoil::ssm::s4 {
inline namespace QF_ISA {

// The adjoint recurrence and its sums over time, for rows of up to L steps.
class FeedbackAdjoint {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  // One state in `segment_` steps is stored and the others are recomputed: about 2 sqrt(L) states instead of L.
  FeedbackAdjoint(int64_t N, int64_t L)
      : n_(round_up(N, W)),
        segment_(root(L)),
        memory_(10 * n_),
        checkpoints_(2 * n_ * ((L + segment_ - 1) / segment_)),
        states_(2 * n_ * segment_),
        feedback_(segment_),
        E(part(0)),
        p(part(1)),
        q(part(2)),
        c(part(3)),
        mu(part(4)) {}

  void clear() const { set_zero<double>(memory_, 8 * n_); }  // E, p, q, c

  // (7): adds the gradients of E, p, q and c for the L steps from x_0 = x on; x is overwritten. On return, mu is mu_0. gradient(l) is
  // dL/dK_l.
  template <class Gradient>
  void run(const Feedback& f, const Split& x, int64_t L, Gradient&& gradient) {
    for (int64_t l = 0; l < L; ++l) {
      if (l % segment_ == 0) {
        check_interrupt(double(segment_ * n_) * kFeedbackNs);
        copy(x, at(checkpoints_, l / segment_));
      }
      f.advance(x, f.feedback(x));
    }
    for (int64_t i = 0; i < n_; i += W) mu.set(i, cplx<V>{});
    for (int64_t first = (L - 1) / segment_ * segment_; first >= 0; first -= segment_) {
      const int64_t count = min(segment_, L - first);
      check_interrupt(double(count * n_) * 2 * kFeedbackNs);
      copy(at(checkpoints_, first / segment_), x);
      for (int64_t k = 0; k < count; ++k) {
        copy(x, at(states_, k));
        feedback_[k] = f.feedback(x);
        f.advance(x, feedback_[k]);
      }
      for (int64_t k = count - 1; k >= 0; --k) back(f, at(states_, k), feedback_[k], gradient(first + k));
    }
  }

 private:
  static int64_t root(int64_t L) {
    int64_t r = 1;
    while (r * r < L) ++r;
    return r;
  }
  void copy(const Split& from, const Split& to) const {
    for (int64_t i = 0; i < n_; i += W) to.set(i, from[i]);
  }
  Split at(double* states, int64_t k) const { return {states + 2 * k * n_, states + (2 * k + 1) * n_}; }

  // One step back: mu_{l+1} -> mu_l. Updates the sums in L1.
  void back(const Feedback& f, const Split& x, double s, double g_K) const {
    V along{};
    for (int64_t i = 0; i < n_; i += W) along += inner(mu[i], f.p[i]);
    const V g_s = broadcast<V>(-sum(along)), g = broadcast<V>(2 * g_K), feedback = broadcast<V>(s);
    for (int64_t i = 0; i < n_; i += W) {
      const cplx<V> m = mu[i], conj_x = conjugate(x[i]);
      E.add(i, conj_x * m);
      p.set(i, p[i] - scaled(m, feedback));
      q.add(i, scaled(conj_x, g_s));
      c.add(i, scaled(conj_x, g));
      mu.set(i, conjugate(f.E[i]) * m + scaled(conjugate(f.q[i]), g_s) + scaled(conjugate(f.c[i]), g));
    }
  }
  Split part(int k) const { return {memory_ + 2 * k * n_, memory_ + (2 * k + 1) * n_}; }

  const int64_t n_, segment_;
  Scratch<double> memory_, checkpoints_, states_, feedback_;

 public:
  const Split E, p, q, c, mu;
};

// (8): converts the gradient of the true C to that of C (I - Abar^L), and adds the contribution of the power to the gradients of E, p, q.
// Abar^L is step L of a recurrence that starts from y = (I - Abar^L)^-1 g.
inline void truncated_adjoint(const Feedback& f, FeedbackAdjoint& g, const Split& x, int64_t L) {
  const int64_t N = f.N;
  Scratch<double> dense(4 * N * N), y(2 * N);
  f.power(dense, L);
  for (int64_t i = 0; i < N; ++i) y[i] = g.c.re[i], y[N + i] = -g.c.im[i];
  solve_less_power(2 * N, dense, false, y);
  for (int64_t i = 0; i < f.n; ++i) x.re[i] = i < N ? y[i] : 0, x.im[i] = i < N ? y[N + i] : 0;
  g.run(f, x, L + 1, [&](int64_t l) { return l == L ? 0.5 : 0.0; });
  for (int64_t i = 0; i < f.n; ++i) g.c.re[i] = i < N ? y[i] : 0, g.c.im[i] = i < N ? -y[N + i] : 0;
}

// (6): converts the gradients of E, p, q, b and c to those of the parameters of channel h.
template <class T>
void parameter_adjoint(const Feedback& s, const FeedbackAdjoint& g, const Split& g_b, const ModelAdjoint<T>& p, int64_t h) {
  using V = Lanes<double>;
  constexpr int W = kLanes<double>;
  const double step = double(p.dt[h]), damping = 1 / (1 + 0.5 * step * s.coupling);
  const auto real = [](double x) { return broadcast<V>(x); };

  // b = dt (D B - p input / 2) and p = strength D P
  V inputs{}, strengths{}, steps{};
  for (int64_t i = 0; i < s.n; i += W) {
    g.p.set(i, g.p[i] - scaled(g_b[i], real(0.5 * step * s.input)));
    inputs += inner(g_b[i], s.p[i]);
    strengths += inner(g.p[i], s.D[i] * load_first<V>(p.P + h * p.N + i, p.N - i));
    steps += inner(g_b[i], s.D[i] * load_first<V>(p.B + h * p.N + i, p.N - i)) - 0.5 * s.input * inner(g_b[i], s.p[i]);
  }
  const double g_input = -0.5 * step * sum(inputs), g_strength = sum(strengths), g_product = -g_strength * step * damping * damping;
  const double g_coupling = 0.5 * step * g_product;  // strength = dt / (1 + product), product = dt/2 coupling
  V g_dt{};
  for (int64_t i = 0; i < s.n; i += W) {
    const int64_t at = h * p.N + i, left = p.N - i;
    const cplx<V> P = load_first<V>(p.P + at, left), B = load_first<V>(p.B + at, left);
    cplx<V> Q = P;
    if (p.Q) Q = load_first<V>(p.Q + at, left);
    const cplx<V> D = s.D[i], q = s.q[i];
    const cplx<V> g_q = g.q[i] + scaled(conjugate(B), real(g_input)) + scaled(conjugate(P), real(g_coupling));
    const cplx<V> g_D =
        scaled(conjugate(B) * g_b[i], real(step)) + scaled(conjugate(P) * g.p[i], real(s.strength)) + scaled(Q * g_q, real(2));
    cplx<V> dP = scaled(conjugate(D) * g.p[i], real(s.strength)) + scaled(conjugate(q), real(g_coupling));
    const cplx<V> dQ = scaled(D * conjugate(g_q), real(2));
    const PoleAdjoint<V> pole = dplr_adjoint(real(step), load_first<V>(p.Lambda + at, left), D, g_D, g.E[i]);
    g_dt += pole.dt;
    if (p.dQ)
      store_first(p.dQ + at, dQ, left);
    else
      dP = dP + dQ;
    store_first(p.dP + at, dP, left);
    store_first(p.dLambda + at, pole.A, left);
    store_first(p.dB + at, scaled(conjugate(D) * g_b[i], real(step)) + scaled(conjugate(q), real(g_input)), left);
    store_first(p.dC + at, g.c[i], left);
  }
  p.ddt[h] = T(sum(g_dt) + sum(steps) + g_strength * damping + 0.5 * g_product * s.coupling);
}

template <class T>
void kernel_adjoint(const ModelAdjoint<T>& p) {
  parallel_for(p.H, p.threads, double(p.N * p.L) * 3 * kFeedbackNs, [&](int64_t begin, int64_t end) {
    Feedback channel(p.N);
    FeedbackAdjoint gradient(p.N, p.L + 1);
    Scratch<double> memory(4 * channel.n);
    const Split x{memory, memory + channel.n}, g_b{memory + 2 * channel.n, memory + 3 * channel.n};
    for (int64_t h = begin; h < end; ++h) {
      channel.set(p, h);
      gradient.clear();
      for (int64_t i = 0; i < channel.n; i += Feedback::W) x.set(i, channel.b[i]);
      const T* const grad = p.grad + h * p.L;
      gradient.run(channel, x, p.L, [&](int64_t l) { return double(grad[l]); });
      for (int64_t i = 0; i < channel.n; i += Feedback::W) g_b.set(i, gradient.mu[i]);
      if (p.truncated && p.L > 0) truncated_adjoint(channel, gradient, x, p.L);
      parameter_adjoint(channel, gradient, g_b, p, h);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
