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

// Block [first, first + count) of the real row `row` of a channel, of x (M, H, L), or of one of the two parts of complex numbers.
template <class T>
const T* part_of_row(const T* x, int64_t parts, int64_t row, int64_t h, int64_t H, int64_t L, int64_t first, int64_t count, T* buffer) {
  const T* const at = x + parts * ((row / parts * H + h) * L + first) + row % parts;
  if (parts == 1) return at;
  for (int64_t l = 0; l < count; ++l) buffer[l] = at[2 * l];
  return static_cast<const T*>(buffer);
}

// Writes that block of all M outputs of a channel into y (M, H, L), from the rows of their parts.
template <class T>
void put_sums(Vandermonde<T>& sum, const Modes& modes, int64_t parts, int64_t M, int64_t h, int64_t H, int64_t L, int64_t first,
              int64_t count, T* y) {
  if (parts == 1) return sum.evaluate(modes, first, count, y + h * L + first, H * L);
  Scratch<T> rows(2 * M * count);
  sum.evaluate(modes, first, count, rows, count);
  for (int64_t m = 0; m < M; ++m) {
    T* const to = y + 2 * ((m * H + h) * L + first);
    for (int64_t l = 0; l < count; ++l) to[2 * l] = rows[2 * m * count + l], to[2 * l + 1] = rows[(2 * m + 1) * count + l];
  }
}

// S_k of row m where numbers have two parts: sum_l l^k g_l z^l, or of conj(g_l).
inline cplx<Modes::V> moment_of_parts(const Modes& modes, const double* S, int64_t parts, int64_t m, int64_t i, int k, bool conj) {
  const cplx<Modes::V> re = moment(modes, S, parts * m, i, k);
  if (parts == 1) return re;
  const cplx<Modes::V> im = moment(modes, S, 2 * m + 1, i, k);
  return conj ? cplx<Modes::V>{re.re + im.im, re.im - im.re} : cplx<Modes::V>{re.re - im.im, re.im + im.re};
}

template <class T>
void log_vandermonde(const LogVandermonde<T>& p) {
  if (p.M * p.H * p.L == 0) return;
  const int64_t parts = p.conj ? 1 : 2;
  sum_rows<T>(
      p.H, p.M * parts, p.N, p.L, p.conj ? 2.0 : 1.0, p.threads,
      [&](Modes& modes, int64_t h) { set_poles(modes, p.v, p.x, p.M, p.H, h, !p.conj); },
      [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
        put_sums(sum, modes, parts, p.M, h, p.H, p.L, first, count, p.y);
      });
}

template <class T>
void log_vandermonde_adjoint(const LogVandermondeAdjoint<T>& p) {
  using V = Modes::V;
  const LogVandermonde<T>& f = p.forward;
  const int64_t parts = f.conj ? 1 : 2;
  const V pairs = broadcast<V>(f.conj ? 2.0 : 1.0);  // a real g stands for a conjugate pair
  moments_of_rows<T>(
      f.H, f.M * parts, f.N, f.L, f.threads, [&](Modes& modes, int64_t h) { set_poles(modes, f.v, f.x, f.M, f.H, h, !f.conj); },
      [&](int64_t row, int64_t h, int64_t first, int64_t count, T* buffer) {
        return part_of_row(p.grad, parts, row, h, f.H, f.L, first, count, buffer);
      },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t i = 0; i < modes.n; i += Modes::W) {
          const int64_t left = f.N - i;
          cplx<V> dx{};
          for (int64_t m = 0; m < f.M; ++m) {
            const auto sum_of = [&](int k) { return scaled(moment_of_parts(modes, S, parts, m, i, k, true), pairs); };
            store_first(p.dv + (m * f.H + h) * f.N + i, conjugate(sum_of(0)), left);
            dx = dx + conjugate(modes.weight(parts * m, i) * sum_of(1));
          }
          store_first(p.dx + h * f.N + i, dx, left);
        }
      });
}

// y = v S0(u): the moments themselves.
template <class T>
void log_vandermonde_transpose(const LogVandermondeTranspose<T>& p) {
  const int64_t parts = p.complex ? 2 : 1;
  moments_of_rows<T>(
      p.H, p.M * parts, p.N, p.L, p.threads, [&](Modes& modes, int64_t h) { set_poles(modes, p.v, p.x, p.M, p.H, h, p.complex); },
      [&](int64_t row, int64_t h, int64_t first, int64_t count, T* buffer) {
        return part_of_row(p.u, parts, row, h, p.H, p.L, first, count, buffer);
      },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t m = 0; m < p.M; ++m)
          for (int64_t i = 0; i < modes.n; i += Modes::W)
            store_first(p.y + (m * p.H + h) * p.N + i, modes.weight(parts * m, i) * moment_of_parts(modes, S, parts, m, i, 0, false),
                        p.N - i);
      });
}

// du_l = sum_n g_n conj(v_n z_n^l), for real u its real part, is a sum of exponentials; dv = g conj(S0), dx = sum_m g conj(v S1).
template <class T>
void log_vandermonde_transpose_adjoint(const LogVandermondeTransposeAdjoint<T>& p) {
  using V = Modes::V;
  const LogVandermondeTranspose<T>& f = p.forward;
  const int64_t parts = f.complex ? 2 : 1;
  const auto set = [&](Modes& modes, int64_t h) { set_poles(modes, f.v, f.x, f.M, f.H, h, f.complex); };
  if (f.M * f.H * f.L > 0)
    sum_rows<T>(
        f.H, f.M * parts, f.N, f.L, 1.0, f.threads,
        [&](Modes& modes, int64_t h) {
          set(modes, h);
          for (int64_t m = 0; m < f.M; ++m)
            for (int64_t i = 0; i < modes.n; i += Modes::W) {
              const cplx<V> g = load_first<V>(p.grad + (m * f.H + h) * f.N + i, f.N - i);
              const cplx<V> w = conjugate(g) * modes.weight(parts * m, i);
              modes.set_weight(parts * m, i, w);
              if (f.complex) modes.set_weight(2 * m + 1, i, {-w.im, w.re});  // the real part of i w z^l: -Im w z^l
            }
        },
        [&](Vandermonde<T>& sum, const Modes& modes, int64_t h, int64_t first, int64_t count) {
          put_sums(sum, modes, parts, f.M, h, f.H, f.L, first, count, p.du);
        });
  moments_of_rows<T>(
      f.H, f.M * parts, f.N, f.L, f.threads, set,
      [&](int64_t row, int64_t h, int64_t first, int64_t count, T* buffer) {
        return part_of_row(f.u, parts, row, h, f.H, f.L, first, count, buffer);
      },
      [&](const Modes& modes, int64_t h, const double* S) {
        for (int64_t i = 0; i < modes.n; i += Modes::W) {
          const int64_t left = f.N - i;
          cplx<V> dx{};
          for (int64_t m = 0; m < f.M; ++m) {
            const int64_t at = (m * f.H + h) * f.N + i;
            const cplx<V> g = load_first<V>(p.grad + at, left);
            store_first(p.dv + at, g * conjugate(moment_of_parts(modes, S, parts, m, i, 0, false)), left);
            dx = dx + g * conjugate(modes.weight(parts * m, i) * moment_of_parts(modes, S, parts, m, i, 1, false));
          }
          store_first(p.dx + h * f.N + i, dx, left);
        }
      });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
