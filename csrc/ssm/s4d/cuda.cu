// Kernels of diagonal state-space models and their gradients on a GPU: README (1), modes README (1)-(11). The layer has no GPU kernel yet.
#include "ssm/modes/cuda.hpp"
#include "ssm/s4d/args.hpp"

namespace quatrefoil::ssm::s4d {
using namespace modes;
inline namespace QF_ISA {

template <class T>
__device__ __forceinline__ Pole<double> pole_of(const Model<T>& p, int64_t h, int64_t n) {
  const double dt = double(p.dt[h]);
  const cplx<double> A = wide(p.A[h * p.N + n]);
  switch (p.disc) {
    case Disc::zoh: return zoh(dt, A);
    case Disc::bilinear: return bilinear<sizeof(T) == 8>(dt, A);
    default: return dss(dt, A, double(p.L));
  }
}

// (1)-(5): the modes, and the weights Cbar of all outputs unless `weights` is null.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_modes(const Shape s, const Model<T> p, Mode* modes, cplx<double>* weights) {
  each_mode(s, [&](int64_t h, int64_t n) {
    const int64_t at = h * s.N + n;
    const Pole<double> pole = pole_of(p, h, n);
    modes[at] = {pole.log, pole.low, p.disc == Disc::dss && p.A[at].re > 0 ? double(p.L - 1) : 0.0};
    if (!weights) return;
    const cplx<double> input = p.B ? wide(p.B[at]) * pole.b : pole.b;
    for (int64_t m = 0; m < p.M; ++m) weights[m * s.H * s.N + at] = wide(p.C[m * s.H * s.N + at]) * input;
  });
}

template <class T>
Shape shape_of(const Model<T>& p) {
  return {p.M, 1, p.H, p.N, p.L};
}

template <class T>
void kernel(const Model<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<cplx<double>> weights(s.rows * s.H * s.N);
  launch(put_modes<T>, mode_blocks(s), kThreads, 0, s, p, modes, weights);
  sum_rows<T>(s, modes, weights, pair_factor(p.disc), p.K);
}

// (10), (11): gradients of A, B, C; each mode's contribution to ddt goes to `terms`.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    finish_modes(const Shape s, const ModelAdjoint<T> p, const double factor, const Moment* parts, double* terms) {
  const Model<T>& f = p.forward;
  each_mode(s, [&](int64_t h, int64_t n) {
    const int64_t at = h * s.N + n;
    const double dt = double(f.dt[h]);
    const cplx<double> A = wide(f.A[at]), input = f.B ? wide(f.B[at]) : cplx<double>{1, 0};
    const Pole<double> pole = pole_of(f, h, n);
    cplx<double> g_log{}, g_b{}, g_B{};
    for (int64_t m = 0; m < s.rows; ++m) {
      const Moment S = moment(s, parts, m, h, n);
      const cplx<double> C = wide(f.C[m * s.H * s.N + at]), g = scaled(conjugate(S.s0), factor);
      g_log = g_log + scaled(conjugate(C * input * pole.b * S.s1), factor);
      g_b = g_b + conjugate(C * input) * g;
      g_B = g_B + conjugate(C * pole.b) * g;
      p.dC[m * s.H * s.N + at] = narrow<T>(conjugate(input * pole.b) * g);
    }
    const PoleAdjoint<double> d = f.disc == Disc::zoh        ? zoh_adjoint(dt, A, g_log, g_b)
                                  : f.disc == Disc::bilinear ? bilinear_adjoint(dt, A, pole.z, g_log, g_b)
                                                             : dss_adjoint(dt, A, double(f.L), g_log, g_b);
    terms[at] = d.dt;
    p.dA[at] = narrow<T>(d.A);
    if (p.dB) p.dB[at] = narrow<T>(g_B);
  });
}

// ddt, one thread per channel: summed over modes in order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_terms(const Shape s, const double* terms, T* ddt) {
  QF_ROLLED
  for (int64_t h = int64_t(blockIdx.x) * kThreads + threadIdx.x; h < s.H; h += int64_t(gridDim.x) * kThreads) {
    double sum = 0;
    for (int64_t n = 0; n < s.N; ++n) sum += terms[h * s.N + n];
    ddt[h] = T(sum);
  }
}

template <class T>
void kernel_adjoint(const ModelAdjoint<T>& p) {
  const Shape s = shape_of(p.forward);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  const Workspace<double> terms(s.H * s.N);
  launch(put_modes<T>, mode_blocks(s), kThreads, 0, s, p.forward, modes, nullptr);
  measure_rows<T>(s, modes, p.grad, parts);
  launch(finish_modes<T>, mode_blocks(s), kThreads, 0, s, p, pair_factor(p.forward.disc), parts, terms);
  launch(add_terms<T>, (s.H + kThreads - 1) / kThreads, kThreads, 0, s, terms, p.ddt);
}

template <class T>
constexpr Kernels<T> kKernels = {kernel<T>, kernel_adjoint<T>, nullptr, nullptr};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "s4d_kernel s4d_kernel_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
