// Sums of exponentials with the poles given, and their adjoint. README (6)-(9).
#pragma once
#include "ssm/modes/args.hpp"
#include "ssm/modes/moments.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

// The poles of a channel; the weights v of output m. A complex sum is two real ones: its imaginary part has the weights -i v.
template <class T>
void set_poles(Modes& modes, const cplx<T>* v, const cplx<T>* x, int64_t M, int64_t H, int64_t h, bool both_parts) {
  modes.exponentiate(x + h * modes.N);
  for (int64_t m = 0; m < M; ++m) {
    modes.weigh<T>(both_parts ? 2 * m : m, v + (m * H + h) * modes.N, nullptr);
    for (int64_t i = 0; both_parts && i < modes.n; i += Modes::W) {
      const auto w = modes.weight(2 * m, i);
      modes.set_weight(2 * m + 1, i, {w.im, -w.re});
    }
  }
}

template <class T>
void log_vandermonde(const LogVandermonde<T>& p) {
  if (p.M * p.H * p.L == 0) return;
  const int64_t rows = p.conj ? p.M : 2 * p.M;
  sum_rows<T>(
      p.H, rows, p.N, p.L, p.conj ? 2.0 : 1.0, p.threads,
      [&](Modes& modes, int64_t h) { set_poles(modes, p.v, p.x, p.M, p.H, h, !p.conj); },
      [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
        if (p.conj) {
          sum.evaluate(modes, first, count, p.y + h * p.L + first, p.H * p.L);
          return;
        }
        Scratch<T> parts(rows * count);
        sum.evaluate(modes, first, count, parts, count);
        for (int64_t m = 0; m < p.M; ++m) {
          T* const y = p.y + 2 * ((m * p.H + h) * p.L + first);
          for (int64_t l = 0; l < count; ++l) y[2 * l] = parts[2 * m * count + l], y[2 * l + 1] = parts[(2 * m + 1) * count + l];
        }
      });
}

template <class T>
void log_vandermonde_adjoint(const LogVandermondeAdjoint<T>& p) {
  using V = Modes::V;
  const LogVandermonde<T>& f = p.forward;
  const int64_t parts = f.conj ? 1 : 2;
  moments_of_rows<T>(
      f.H, f.M * parts, f.N, f.L, f.threads, [&](Modes& modes, int64_t h) { set_poles(modes, f.v, f.x, f.M, f.H, h, !f.conj); },
      [&](int64_t row, int64_t h, int64_t first, int64_t count, T* buffer) {
        const T* const grad = p.grad + parts * ((row / parts * f.H + h) * f.L + first) + row % parts;
        if (f.conj) return grad;
        for (int64_t l = 0; l < count; ++l) buffer[l] = grad[2 * l];
        return static_cast<const T*>(buffer);
      },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t i = 0; i < modes.n; i += Modes::W) {
          const int64_t left = f.N - i;
          cplx<V> dx{};
          for (int64_t m = 0; m < f.M; ++m) {
            cplx<V> s[2];
            for (int k = 0; k < 2; ++k) {  // sum_l l^k conj(g_l) z^l; a real g stands for a conjugate pair
              s[k] = moment(modes, S, parts * m, i, k);
              if (f.conj) {
                s[k] = scaled(s[k], broadcast<V>(2.0));
              } else {
                const cplx<V> im = moment(modes, S, 2 * m + 1, i, k);
                s[k] = {s[k].re + im.im, s[k].im - im.re};
              }
            }
            store_first(p.dv + (m * f.H + h) * f.N + i, conjugate(s[0]), left);
            dx = dx + conjugate(modes.weight(parts * m, i) * s[1]);
          }
          store_first(p.dx + h * f.N + i, dx, left);
        }
      });
}

// y = v S0(u): the moments themselves.
template <class T>
void log_vandermonde_transpose(const LogVandermondeTranspose<T>& p) {
  moments_of_rows<T>(
      p.H, p.M, p.N, p.L, p.threads, [&](Modes& modes, int64_t h) { set_poles(modes, p.v, p.x, p.M, p.H, h, false); },
      [&](int64_t m, int64_t h, int64_t first, int64_t, T*) { return p.u + (m * p.H + h) * p.L + first; },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t m = 0; m < p.M; ++m)
          for (int64_t i = 0; i < modes.n; i += Modes::W)
            store_first(p.y + (m * p.H + h) * p.N + i, modes.weight(m, i) * moment(modes, S, m, i, 0), p.N - i);
      });
}

// du_l = Re sum_n conj(g_n) v_n z_n^l is a sum of exponentials, dv = g conj(S0), dx = sum_m g conj(v S1).
template <class T>
void log_vandermonde_transpose_adjoint(const LogVandermondeTransposeAdjoint<T>& p) {
  using V = Modes::V;
  const LogVandermondeTranspose<T>& f = p.forward;
  if (f.M * f.H * f.L > 0)
    sum_rows<T>(
        f.H, f.M, f.N, f.L, 1.0, f.threads,
        [&](Modes& modes, int64_t h) {
          set_poles(modes, f.v, f.x, f.M, f.H, h, false);
          for (int64_t m = 0; m < f.M; ++m)
            for (int64_t i = 0; i < modes.n; i += Modes::W)
              modes.set_weight(m, i, conjugate(load_first<V>(p.grad + (m * f.H + h) * f.N + i, f.N - i)) * modes.weight(m, i));
        },
        [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
          sum.evaluate(modes, first, count, p.du + h * f.L + first, f.H * f.L);
        });
  moments_of_rows<T>(
      f.H, f.M, f.N, f.L, f.threads, [&](Modes& modes, int64_t h) { set_poles(modes, f.v, f.x, f.M, f.H, h, false); },
      [&](int64_t m, int64_t h, int64_t first, int64_t, T*) { return f.u + (m * f.H + h) * f.L + first; },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t i = 0; i < modes.n; i += Modes::W) {
          const int64_t left = f.N - i;
          cplx<V> dx{};
          for (int64_t m = 0; m < f.M; ++m) {
            const int64_t at = (m * f.H + h) * f.N + i;
            const cplx<V> g = load_first<V>(p.grad + at, left);
            store_first(p.dv + at, g * conjugate(moment(modes, S, m, i, 0)), left);
            dx = dx + g * conjugate(modes.weight(m, i) * moment(modes, S, m, i, 1));
          }
          store_first(p.dx + h * f.N + i, dx, left);
        }
      });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
