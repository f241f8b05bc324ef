// Sums over modes on a GPU, and their transpose, the moments: README (6)-(9). Used by other methods' cuda.cu files; the kernels are
// compiled only with this method's cuda.cu.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/modes/args.hpp"
#include "ssm/modes/formula.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

constexpr int kThreads = 256;
constexpr int kSide = 64;  // a tile is kSide giant steps of kSide baby steps
constexpr int64_t kTile = kSide * kSide;

// A mode of the sums. If `origin` is not 0, the mode grows and stands for z^(l - origin), l <= origin.
struct Mode {
  cplx<double> log;
  double low, origin;
};

// Rows of elements (m, h, l), real or complex; a complex row counts as two.
struct Shape {
  int64_t rows, parts, H, N, L;
  QF_HD int64_t tiles() const { return (L + kTile - 1) / kTile; }
  QF_HD int64_t at(int64_t row, int64_t h, int64_t l) const { return parts * (((row / parts) * H + h) * L + l) + row % parts; }
};

// y[row, h, l] = factor Re sum_n w_n z_n^l; weights are (row, h, n).
template <class T>
void sum_rows(const Shape& s, const Mode* modes, const cplx<double>* weights, double factor, T* y);

// S0 = sum_l g_l z^l and S1 = sum_l l g_l z^l.
struct Moment {
  cplx<double> s0, s1;
};

// (9): all moments of g, into `parts` (rows, H, tiles, N).
template <class T>
void measure_rows(const Shape& s, const Mode* modes, const T* g, Moment* parts);

extern template void sum_rows(const Shape&, const Mode*, const cplx<double>*, double, float*);
extern template void sum_rows(const Shape&, const Mode*, const cplx<double>*, double, double*);
extern template void measure_rows(const Shape&, const Mode*, const float*, Moment*);
extern template void measure_rows(const Shape&, const Mode*, const double*, Moment*);

// The moments of one row and mode, summed over tiles in order.
__device__ __forceinline__ Moment moment(const Shape& s, const Moment* parts, int64_t row, int64_t h, int64_t n) {
  Moment all{};
  for (int64_t tile = 0; tile < s.tiles(); ++tile) {
    const Moment& part = parts[((row * s.H + h) * s.tiles() + tile) * s.N + n];
    all = {all.s0 + part.s0, all.s1 + part.s1};
  }
  return all;
}

template <class T>
__device__ __forceinline__ cplx<double> wide(cplx<T> x) {
  return {double(x.re), double(x.im)};
}
template <class T>
__device__ __forceinline__ cplx<T> narrow(cplx<double> x) {
  return {T(x.re), T(x.im)};
}

// Calls f(h, n) for every mode, one thread per mode.
template <class F>
__device__ __forceinline__ void each_mode(const Shape& s, F f) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < s.H * s.N; at += int64_t(gridDim.x) * kThreads)
    f(quotient(at, s.N), remainder(at, s.N));
}
inline int64_t mode_blocks(const Shape& s) {
  if (s.H * s.N >= kTooMany) throw DeviceError("2^31 or more modes are too many for a GPU kernel");
  return (s.H * s.N + kThreads - 1) / kThreads;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
