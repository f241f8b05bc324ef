// Sums of exponentials with given poles, their transpose, and the adjoints of both. README (6)-(9). Compiled once per instruction set.
#include "ssm/modes/args.hpp"
#include "ssm/modes/moments.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

// The poles of channel h and the weights of its real rows. A complex sum is two real ones: its imaginary part has the weights -i v.
template <class T>
void set_poles(Modes& modes, const Exponentials<T>& p, int64_t h) {
  modes.exponentiate(p.x + h * p.N);
  for (int64_t m = 0; m < p.M; ++m) {
    modes.weigh<T>(p.parts() * m, p.v + (m * p.H + h) * p.N, nullptr);
    for (int64_t i = 0; p.complex && i < modes.n; i += Modes::W) {
      const auto w = modes.weight(2 * m, i);
      modes.set_weight(2 * m + 1, i, {w.im, -w.re});
    }
  }
}

// rows (M, H, L) = factor Re sum_n w_n z_n^l, with the modes and weights from set(modes, h).
template <class T, class Set>
void sum_into(const Exponentials<T>& p, double factor, T* rows, Set&& set) {
  if (p.M * p.H * p.L == 0) return;
  sum_rows<T>(p.H, p.M * p.parts(), p.N, p.L, factor, p.threads, set,
              [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
                if (!p.complex) return sum.evaluate(modes, first, count, rows + h * p.L + first, p.H * p.L);
                Scratch<T> parts(2 * p.M * count);
                sum.evaluate(modes, first, count, parts, count);
                for (int64_t m = 0; m < p.M; ++m) {
                  T* const to = rows + 2 * ((m * p.H + h) * p.L + first);
                  for (int64_t l = 0; l < count; ++l) to[2 * l] = parts[2 * m * count + l], to[2 * l + 1] = parts[(2 * m + 1) * count + l];
                }
              });
}

// Calls finish(modes, h, i, S) for the modes of channel h, W at a time starting at i. S(m, k) = sum_l l^k g_l z^l for row m of `rows` (M,
// H, L), or with conj(g_l) in place of g_l.
template <bool conj, class T, class F>
void measure(const Exponentials<T>& p, const T* rows, F&& finish) {
  const int64_t parts = p.parts();
  moments_of_rows<T>(
      p.H, p.M * parts, p.N, p.L, p.threads, [&](Modes& modes, int64_t h) { set_poles(modes, p, h); },
      [&](int64_t row, int64_t h, int64_t first, int64_t count, T* buffer) -> const T* {
        const T* const at = rows + parts * ((row / parts * p.H + h) * p.L + first) + row % parts;
        if (parts == 1) return at;
        for (int64_t l = 0; l < count; ++l) buffer[l] = at[2 * l];
        return buffer;
      },
      [&](const Modes& modes, int64_t h, const double* moments) {
        for (int64_t i = 0; i < modes.n; i += Modes::W)
          finish(modes, h, i, [&](int64_t m, int k) {
            const auto re = moment(modes, moments, parts * m, i, k);
            if (parts == 1) return re;
            const auto im = moment(modes, moments, 2 * m + 1, i, k);
            return conj ? cplx<Modes::V>{re.re + im.im, re.im - im.re} : cplx<Modes::V>{re.re - im.im, re.im + im.re};
          });
      });
}

template <class T>
void log_vandermonde(const LogVandermonde<T>& p) {
  sum_into(p, p.complex ? 1.0 : 2.0, p.y, [&](Modes& modes, int64_t h) { set_poles(modes, p, h); });
}

template <class T>
void log_vandermonde_adjoint(const LogVandermondeAdjoint<T>& p) {
  using V = Modes::V;
  const V pairs = broadcast<V>(p.complex ? 1.0 : 2.0);  // in real sums, a mode stands for a conjugate pair
  measure<true>(p, p.grad, [&](const Modes& modes, int64_t h, int64_t i, auto&& S) {
    cplx<V> dx{};
    for (int64_t m = 0; m < p.M; ++m) {
      store_first(p.dv + (m * p.H + h) * p.N + i, conjugate(scaled(S(m, 0), pairs)), p.N - i);
      dx = dx + conjugate(modes.weight(p.parts() * m, i) * scaled(S(m, 1), pairs));
    }
    store_first(p.dx + h * p.N + i, dx, p.N - i);
  });
}

// y = v S0(u)
template <class T>
void log_vandermonde_transpose(const LogVandermondeTranspose<T>& p) {
  measure<false>(p, p.u, [&](const Modes& modes, int64_t h, int64_t i, auto&& S) {
    for (int64_t m = 0; m < p.M; ++m) store_first(p.y + (m * p.H + h) * p.N + i, modes.weight(p.parts() * m, i) * S(m, 0), p.N - i);
  });
}

// du_l = sum_n g_n conj(v_n z_n^l), or its real part, is a sum of exponentials; dv = g conj(S0), dx = sum_m g conj(v S1).
template <class T>
void log_vandermonde_transpose_adjoint(const LogVandermondeTransposeAdjoint<T>& p) {
  using V = Modes::V;
  const auto grad = [&](int64_t m, int64_t h, int64_t i) { return load_first<V>(p.grad + (m * p.H + h) * p.N + i, p.N - i); };
  sum_into(p, 1.0, p.du, [&](Modes& modes, int64_t h) {
    set_poles(modes, p, h);
    for (int64_t m = 0; m < p.M; ++m)
      for (int64_t i = 0; i < modes.n; i += Modes::W) {
        const cplx<V> w = conjugate(grad(m, h, i)) * modes.weight(p.parts() * m, i);
        modes.set_weight(p.parts() * m, i, w);
        if (p.complex) modes.set_weight(2 * m + 1, i, {-w.im, w.re});  // the real part of i w z^l: -Im w z^l
      }
  });
  measure<false>(p, p.u, [&](const Modes& modes, int64_t h, int64_t i, auto&& S) {
    cplx<V> dx{};
    for (int64_t m = 0; m < p.M; ++m) {
      const cplx<V> g = grad(m, h, i);
      store_first(p.dv + (m * p.H + h) * p.N + i, g * conjugate(S(m, 0)), p.N - i);
      dx = dx + g * conjugate(modes.weight(p.parts() * m, i) * S(m, 1));
    }
    store_first(p.dx + h * p.N + i, dx, p.N - i);
  });
}

template <class T>
constexpr Kernels<T> kKernels = {log_vandermonde<T>, log_vandermonde_adjoint<T>, log_vandermonde_transpose<T>,
                                 log_vandermonde_transpose_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
