// Sums of exponentials with the poles given, and their adjoints, on a GPU: README (6)-(10).
#include "ssm/modes/cuda.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

// z = e^x, and the weights of each row: v, conj(grad) v where there is a grad; of the imaginary part of a complex sum -i times these, of
// the gradient in a complex u, whose real part counts, i times these.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    put_poles(const Shape s, const cplx<T>* v, const cplx<T>* x, const cplx<T>* grad, Mode* modes, cplx<double>* weights) {
  each_mode(s, [&](int64_t h, int64_t n) {
    modes[h * s.N + n] = {wide(x[h * s.N + n]), 0, 0};
    if (!weights) return;
    for (int64_t row = 0; row < s.rows; ++row) {
      const int64_t at = ((row / s.parts) * s.H + h) * s.N + n;
      cplx<double> w = wide(v[at]);
      if (grad) w = conjugate(wide(grad[at])) * w;
      if (row % s.parts) w = grad ? cplx<double>{-w.im, w.re} : cplx<double>{w.im, -w.re};
      weights[(row * s.H + h) * s.N + n] = w;
    }
  });
}

// The moments of output m: of its real row, or of both rows, whose numbers are g or their conjugates.
__device__ __forceinline__ Moment moment_of(const Shape& s, const Moment* parts, int64_t m, int64_t h, int64_t n, bool conj) {
  const Moment re = moment(s, parts, m * s.parts, h, n);
  if (s.parts == 1) return re;
  const Moment im = moment(s, parts, 2 * m + 1, h, n);
  const cplx<double> i{0, conj ? -1.0 : 1.0};
  return {re.s0 + i * im.s0, re.s1 + i * im.s1};
}

template <class T>
Shape shape_of(const LogVandermonde<T>& p) {
  const int64_t parts = p.conj ? 1 : 2;
  return {p.M * parts, parts, p.H, p.N, p.L};
}
template <class T>
Shape shape_of(const LogVandermondeTranspose<T>& p) {
  const int64_t parts = p.complex ? 2 : 1;
  return {p.M * parts, parts, p.H, p.N, p.L};
}

template <class T>
void log_vandermonde(const LogVandermonde<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<cplx<double>> weights(s.rows * s.H * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p.v, p.x, nullptr, modes, weights);
  sum_rows<T>(s, modes, weights, p.conj ? 2.0 : 1.0, p.y);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) finish_adjoint(const Shape s, const LogVandermondeAdjoint<T> p, const Moment* parts) {
  each_mode(s, [&](int64_t h, int64_t n) {
    const double pairs = p.forward.conj ? 2.0 : 1.0;  // a real g stands for a conjugate pair
    cplx<double> dx{};
    for (int64_t m = 0; m < p.forward.M; ++m) {
      const int64_t at = (m * s.H + h) * s.N + n;
      const Moment S = moment_of(s, parts, m, h, n, true);
      p.dv[at] = narrow<T>(conjugate(scaled(S.s0, pairs)));
      dx = dx + conjugate(wide(p.forward.v[at]) * scaled(S.s1, pairs));
    }
    p.dx[h * s.N + n] = narrow<T>(dx);
  });
}

template <class T>
void log_vandermonde_adjoint(const LogVandermondeAdjoint<T>& p) {
  const Shape s = shape_of(p.forward);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p.forward.v, p.forward.x, nullptr, modes, nullptr);
  measure_rows<T>(s, modes, p.grad, parts);
  launch(finish_adjoint<T>, mode_blocks(s), kThreads, 0, s, p, parts);
}

// y = v S0(u)
template <class T>
__global__ void __launch_bounds__(kThreads, 1) finish_transpose(const Shape s, const LogVandermondeTranspose<T> p, const Moment* parts) {
  each_mode(s, [&](int64_t h, int64_t n) {
    for (int64_t m = 0; m < p.M; ++m) {
      const int64_t at = (m * s.H + h) * s.N + n;
      p.y[at] = narrow<T>(wide(p.v[at]) * moment_of(s, parts, m, h, n, false).s0);
    }
  });
}

template <class T>
void log_vandermonde_transpose(const LogVandermondeTranspose<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p.v, p.x, nullptr, modes, nullptr);
  measure_rows<T>(s, modes, p.u, parts);
  launch(finish_transpose<T>, mode_blocks(s), kThreads, 0, s, p, parts);
}

// dv = g conj(S0), dx = sum_m g conj(v S1)
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    finish_transpose_adjoint(const Shape s, const LogVandermondeTransposeAdjoint<T> p, const Moment* parts) {
  each_mode(s, [&](int64_t h, int64_t n) {
    cplx<double> dx{};
    for (int64_t m = 0; m < p.forward.M; ++m) {
      const int64_t at = (m * s.H + h) * s.N + n;
      const Moment S = moment_of(s, parts, m, h, n, false);
      const cplx<double> g = wide(p.grad[at]);
      p.dv[at] = narrow<T>(g * conjugate(S.s0));
      dx = dx + g * conjugate(wide(p.forward.v[at]) * S.s1);
    }
    p.dx[h * s.N + n] = narrow<T>(dx);
  });
}

// du_l = sum_n g_n conj(v_n z_n^l), for real u its real part, is a sum of exponentials.
template <class T>
void log_vandermonde_transpose_adjoint(const LogVandermondeTransposeAdjoint<T>& p) {
  const LogVandermondeTranspose<T>& f = p.forward;
  const Shape s = shape_of(f);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<cplx<double>> weights(s.rows * s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, f.v, f.x, p.grad, modes, weights);
  sum_rows<T>(s, modes, weights, 1.0, p.du);
  measure_rows<T>(s, modes, f.u, parts);
  launch(finish_transpose_adjoint<T>, mode_blocks(s), kThreads, 0, s, p, parts);
}

// A thread a number of b. Reads a once, writes b once.
template <class E>
__global__ void __launch_bounds__(kThreads, 1) repeat_rows(const Repeat<E> p) {
  const auto& r = p.rows;
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < r.rows * r.length; at += int64_t(gridDim.x) * kThreads) {
    const int64_t row = at / r.length, n = at % r.length;
    p.b[r.offset(p.kB, row) + n * r.along[p.kB]] = p.a[r.offset(p.kA, row) + n * r.along[p.kA]];
  }
}

template <class E>
void repeat(const Repeat<E>& p) {
  launch(repeat_rows<E>, (p.rows.rows * p.rows.length + kThreads - 1) / kThreads, kThreads, 0, p);
}

template <class T>
constexpr Kernels<T> kKernels = {
    log_vandermonde<T>, log_vandermonde_adjoint<T>, log_vandermonde_transpose<T>, log_vandermonde_transpose_adjoint<T>, repeat<T>,
    repeat<cplx<T>>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops =
    "log_vandermonde log_vandermonde_vjp log_vandermonde_complex log_vandermonde_complex_vjp log_vandermonde_transpose "
    "log_vandermonde_transpose_vjp log_vandermonde_transpose_complex log_vandermonde_transpose_complex_vjp broadcast_rows "
    "broadcast_rows_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
