// Kernels of diagonal plus low-rank systems by their own recurrence, x <- E x - p Re sum_n q_n x_n. A step costs as much as the Cauchy sums
// of one frequency, without a transform or a power of the matrix. README (4)-(8).
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"
#include "ssm/modes/modes.hpp"
#include "ssm/s4/args.hpp"
#include "ssm/s4/formula.hpp"

namespace quatrefoil::ssm::s4 {
using namespace modes;
inline namespace QF_ISA {

constexpr double kFeedbackNs = 0.7;  // one mode of one step (estimate)

// Computes right <- (I - a)^-1 right, or with a transposed: elimination with row pivoting, on a copy. A singular matrix gives inf or NaN.
inline void solve_less_power(int64_t d, const double* a, bool transposed, double* right) {
  Scratch<double> m(d * d);
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < d; ++j) m[i * d + j] = (i == j ? 1 : 0) - (transposed ? a[j * d + i] : a[i * d + j]);
  for (int64_t k = 0; k < d; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < d; ++i)
      if (__builtin_fabs(m[i * d + k]) > __builtin_fabs(m[pivot * d + k])) pivot = i;
    const auto swap = [](double& a, double& b) {
      const double c = a;
      a = b, b = c;
    };
    for (int64_t j = k; j < d && pivot != k; ++j) swap(m[k * d + j], m[pivot * d + j]);
    swap(right[k], right[pivot]);
    check_interrupt(double((d - k) * (d - k)) * 0.5);
    for (int64_t i = k + 1; i < d; ++i) {
      const double factor = m[i * d + k] / m[k * d + k];
      for (int64_t j = k + 1; j < d; ++j) m[i * d + j] -= factor * m[k * d + j];
      right[i] -= factor * right[k];
    }
  }
  for (int64_t k = d - 1; k >= 0; --k) {
    double rest = right[k];
    for (int64_t j = k + 1; j < d; ++j) rest -= m[k * d + j] * right[j];
    right[k] = rest / m[k * d + k];
  }
}

// The recurrence of one channel.
class Feedback {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  explicit Feedback(int64_t N)
      : N(N), n(round_up(N, W)), memory_(12 * n), D(part(0)), E(part(1)), p(part(2)), q(part(3)), b(part(4)), c(part(5)) {}

  // (4): computes the arrays from the parameters of channel h.
  template <class T>
  void set(const Model<T>& f, int64_t h) {
    const double step = double(f.dt[h]);
    V couplings{}, inputs{};
    for (int64_t i = 0; i < n; i += W) {
      const int64_t at = h * N + i, left = N - i;
      const cplx<V> P = load_first<V>(f.P + at, left), B = load_first<V>(f.B + at, left);
      cplx<V> Q = P;
      if (f.Q) Q = load_first<V>(f.Q + at, left);
      const DplrMode<V> mode = dplr_mode(broadcast<V>(step), load_first<V>(f.Lambda + at, left), Q);
      D.set(i, mode.D), E.set(i, mode.E), q.set(i, mode.q), c.set(i, load_first<V>(f.C + at, left));
      p.set(i, mode.D * P), b.set(i, mode.D * B);
      couplings += real_product(mode.q, P);
      inputs += real_product(mode.q, B);
    }
    coupling = sum(couplings), input = sum(inputs);
    strength = step / (1 + 0.5 * step * coupling);
    for (int64_t i = 0; i < n; i += W) {
      p.set(i, scaled(p[i], broadcast<V>(strength)));
      b.set(i, scaled(b[i] - scaled(p[i], broadcast<V>(0.5 * input)), broadcast<V>(step)));
    }
    if (f.truncated && f.L > 0) restore_output(f.L);
  }

  // K_l = 2 Re sum c x_l, starting with x_0 = x. Reads the arrays of a channel from L1 once per step.
  template <class T>
  void run(const Split& x, int64_t L, T* K) const {
    V partial[W] = {};
    InterruptCheck check;
    for (int64_t l = 0; l < L; ++l) {
      V output{};
      for (int64_t i = 0; i < n; i += W) output += real_product(c[i], x[i]);
      partial[l % W] = output;
      if (l % W == W - 1 || l == L - 1) {  // sums over lanes, W steps at once
        transpose(partial);
        V total = partial[0];
        for (int k = 1; k < W; ++k) total += partial[k];
        for (int64_t k = 0; k <= l % W; ++k) K[l - l % W + k] = T(2 * total[k]);
        check(double(W * N) * kFeedbackNs);
      }
      advance(x, feedback(x));
    }
  }
  double feedback(const Split& x) const {
    V total{};
    for (int64_t i = 0; i < n; i += W) total += real_product(q[i], x[i]);
    return sum(total);
  }
  void advance(const Split& x, double s) const {
    for (int64_t i = 0; i < n; i += W) x.set(i, E[i] * x[i] - scaled(p[i], broadcast<V>(s)));
  }

  // out = the (2N, 2N) matrix of Abar^L acting on (Re x, Im x). Starts at the highest bit of L: squares for each bit, and applies one step,
  // a diagonal plus rank-one matrix, if the bit is 1.
  void power(double* out, int64_t L) const {
    const int64_t d = 2 * N;
    Scratch<double> squared(d * d);
    set_zero(out, d * d);
    for (int64_t i = 0; i < d; ++i) out[i * (d + 1)] = 1;
    for (int bit = 63 - __builtin_clzll((unsigned long long)L); bit >= 0; --bit) {
      square(d, out, squared);
      __builtin_memcpy(out, squared, std::size_t(d * d) * sizeof(double));
      for (int64_t row = 0; row < d && (L >> bit & 1); ++row) {
        check_interrupt(double(d));
        step_row(out + row * d);
      }
    }
  }

 private:
  // (8): computes the true C from C (I - Abar^L).
  void restore_output(int64_t L) {
    Scratch<double> dense(4 * N * N), right(2 * N);
    power(dense, L);
    for (int64_t i = 0; i < N; ++i) right[i] = c.re[i], right[N + i] = -c.im[i];
    solve_less_power(2 * N, dense, true, right);
    for (int64_t i = 0; i < N; ++i) c.re[i] = right[i], c.im[i] = -right[N + i];
  }
  // to = m m, both (d, d). Reads m once per three vectors of columns.
  static void square(int64_t d, const double* m, double* to) {
    constexpr int64_t kRows = 256;
    for_columns<double>(d, [&](auto columns, int64_t j) {
      using C = decltype(columns);
      for (int64_t i = 0; i < d; i += kRows) {
        const int64_t rows = min(kRows, d - i);
        check_interrupt(double(rows * d * C::count) * kMultiplyAddNs<double>);
        tile_column<Left::rows, C::vectors, typename C::Vector>(rows, d, m + i * d, d, m + j, d, to + i * d + j, d, false);
      }
    });
  }
  // row <- row Abar.
  void step_row(double* row) const {
    double along = 0;
    for (int64_t i = 0; i < N; ++i) along += row[i] * p.re[i] + row[N + i] * p.im[i];
    for (int64_t i = 0; i < N; ++i) {
      const double re = row[i], im = row[N + i];
      row[i] = re * E.re[i] + im * E.im[i] - along * q.re[i];
      row[N + i] = im * E.re[i] - re * E.im[i] + along * q.im[i];
    }
  }
  Split part(int k) const { return {memory_ + 2 * k * n, memory_ + (2 * k + 1) * n}; }

 public:
  const int64_t N, n;

 private:
  Scratch<double> memory_;

 public:
  const Split D, E, p, q, b, c;                  // p = strength D P, b = Bbar
  double coupling = 0, input = 0, strength = 0;  // Re sum q P, Re sum q B, dt / (1 + dt/2 coupling)
};

template <class T>
void kernel(const Model<T>& f) {
  if (f.L == 0) return;
  parallel_for(f.H, f.threads, double(f.N * f.L) * kFeedbackNs, [&](int64_t begin, int64_t end) {
    Feedback channel(f.N);
    Scratch<double> state(2 * channel.n);
    const Split x{state, state + channel.n};
    for (int64_t h = begin; h < end; ++h) {
      channel.set(f, h);
      for (int64_t i = 0; i < channel.n; i += Feedback::W) x.set(i, channel.b[i]);
      channel.run(x, f.L, f.K + h * f.L);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
