// Sums over modes on a GPU, and their transpose, the moments: one tile of 64 x 64 time steps per thread block. Sums of exponentials with
// given poles, and their adjoints. README (6)-(10).
#include "core/cuda/shared.hpp"
#include "ssm/modes/cuda.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

constexpr int kChunk = 16;         // modes whose powers are in shared memory at a time
constexpr int kPitch = kSide + 1;  // so that neighbouring modes use different banks
constexpr int kRun = 8;            // consecutive powers computed from one exponential
constexpr int kPatch = 4;          // a thread computes kPatch x kPatch elements of a tile

__device__ __forceinline__ cplx<double> power(const Mode& mode, double t) { return raised(mode.log, mode.low, t); }

// The giant steps of a tile that begins at `first`. The last ones of a row begin early, so that all baby steps lie within the row; baby
// steps that belong to earlier giant steps are skipped.
struct Steps {
  int64_t first, L, babies;  // babies: kSide, or the length of the row if that is shorter
  __device__ Steps(const Shape& s, int64_t tile) : first(tile * kTile), L(s.L), babies(min(int64_t(kSide), s.L)) {}
  __device__ int64_t giant(int i) const { return min(first + int64_t(i) * kSide, L - babies); }
  __device__ bool has(int i, int j) const { return j < babies && giant(i) + j >= first + int64_t(i) * kSide; }
  // The exponents; their sum is l - origin. For growing modes, neither is positive; for others, neither is negative.
  __device__ double giant_power(const Mode& mode, int i) const {
    return mode.origin > 0 ? double(giant(i) + babies - 1) - mode.origin : double(giant(i));
  }
  __device__ double baby_power(const Mode& mode, int j) const { return mode.origin > 0 ? double(j - (babies - 1)) : double(j); }
};

// kRun powers z^exponent(k) times w, each from the previous one if their exponents are `step` apart.
template <class T, class F>
__device__ __forceinline__ void put_powers(const Mode& mode, cplx<double> w, int first, int step, F exponent, cplx<T>* to) {
  const cplx<double> factor = power(mode, step);
  double last = 0;
  cplx<double> x{};
  QF_ROLLED
  for (int k = 0; k < kRun; ++k) {
    const double at = exponent(first + k);
    x = k && at == last + step ? x * factor : power(mode, at);
    last = at;
    const cplx<double> y = x * w;
    to[first + k] = {T(y.re), T(y.im)};
  }
}

// The modes of a chunk: giant steps in u, baby steps times their weights in v, padded with zeros. One thread per run.
template <class T>
__device__ __forceinline__ void put_chunk(const Shape& s, const Steps& steps, const Mode* modes, const cplx<double>* weights, double factor,
                                          int64_t left, cplx<T>* u, cplx<T>* v) {
  constexpr int runs = kSide / kRun;
  const int n = threadIdx.x % kChunk, run = threadIdx.x / kChunk;
  cplx<T>* const to = (run < runs ? u : v) + n * kPitch;
  const int first = run % runs * kRun;
  if (n >= left || (run >= runs && first >= steps.babies)) {
    for (int k = 0; k < kRun; ++k) to[first + k] = cplx<T>{};
    return;
  }
  const Mode mode = modes[n];
  if (run < runs) {
    put_powers(mode, {1, 0}, first, kSide, [&](int i) { return steps.giant_power(mode, i); }, to);
  } else {
    put_powers(
        mode, weights ? scaled(weights[n], factor) : cplx<double>{factor, 0}, first, 1, [&](int j) { return steps.baby_power(mode, j); },
        to);
    for (int k = 0; k < kRun; ++k)
      if (first + k >= steps.babies) to[first + k] = cplx<T>{};
  }
}

// One thread block per tile of a row. Reads only modes and weights; writes y once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    sum_tiles(const Shape s, const Mode* modes, const cplx<double>* weights, const double factor, T* y) {
  QF_SHARED(cplx<T>, u);
  cplx<T>* const v = u + kChunk * kPitch;
  const int64_t tiles = s.tiles();
  const int ti = threadIdx.x / (kSide / kPatch), tj = threadIdx.x % (kSide / kPatch);
  for (int64_t at = blockIdx.x; at < s.rows * s.H * tiles; at += gridDim.x) {
    const int64_t of_row = quotient(at, tiles), row = quotient(of_row, s.H), h = remainder(of_row, s.H);
    const Steps steps(s, remainder(at, tiles));
    T total[kPatch][kPatch] = {};
    for (int64_t n = 0; n < s.N; n += kChunk) {
      put_chunk(s, steps, modes + h * s.N + n, weights + (row * s.H + h) * s.N + n, factor, s.N - n, u, v);
      __syncthreads();
      T sum[kPatch][kPatch] = {};  // partial sums of kChunk terms, for accuracy with many modes
      QF_UNROLL(2)
      for (int k = 0; k < kChunk; ++k) {
        cplx<T> a[kPatch], b[kPatch];
        for (int i = 0; i < kPatch; ++i) a[i] = u[k * kPitch + ti + i * (kSide / kPatch)];
        for (int j = 0; j < kPatch; ++j) b[j] = v[k * kPitch + tj + j * (kSide / kPatch)];
        for (int i = 0; i < kPatch; ++i)
          for (int j = 0; j < kPatch; ++j) {
            sum[i][j] = multiply_add(a[i].re, b[j].re, sum[i][j]);
            sum[i][j] = multiply_add(T(-a[i].im), b[j].im, sum[i][j]);
          }
      }
      for (int i = 0; i < kPatch; ++i)
        for (int j = 0; j < kPatch; ++j) total[i][j] += sum[i][j];
      __syncthreads();
    }
    QF_UNROLL(4)
    for (int i = 0; i < kPatch; ++i) {
      QF_UNROLL(4)
      for (int j = 0; j < kPatch; ++j) {
        const int gi = ti + i * (kSide / kPatch), bj = tj + j * (kSide / kPatch);
        if (steps.has(gi, bj)) y[s.at(row, h, steps.giant(gi) + bj)] = total[i][j];
      }
    }
  }
}

template <class T>
void sum_rows(const Shape& s, const Mode* modes, const cplx<double>* weights, double factor, T* y) {
  launch(sum_tiles<T>, s.rows * s.H * s.tiles(), kThreads, 2 * kChunk * kPitch * sizeof(cplx<T>), s, modes, weights, factor, y);
}

// (9): the moments of each tile of a row, for every mode, written to parts (row, h, tile, n). Reads g once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) measure_tiles(const Shape s, const Mode* modes, const T* g, Moment* parts) {
  constexpr int groups = kThreads / kChunk, giants = kSide / groups;  // a thread processes `giants` steps of one mode
  QF_SHARED(Moment, sums);
  cplx<T>* const u = reinterpret_cast<cplx<T>*>(sums + groups * kChunk);
  cplx<T>* const v = u + kChunk * kPitch;
  T* const x = reinterpret_cast<T*>(v + kChunk * kPitch);
  const int64_t tiles = s.tiles();
  const int n = threadIdx.x % kChunk, group = threadIdx.x / kChunk;
  for (int64_t at = blockIdx.x; at < s.rows * s.H * tiles; at += gridDim.x) {
    const int64_t of_row = quotient(at, tiles), row = quotient(of_row, s.H), h = remainder(of_row, s.H);
    const Steps steps(s, remainder(at, tiles));
    for (int k = threadIdx.x; k < kTile; k += kThreads)
      x[k] = steps.has(k / kSide, k % kSide) ? g[s.at(row, h, steps.giant(k / kSide) + k % kSide)] : T(0);
    for (int64_t first = 0; first < s.N; first += kChunk) {
      put_chunk(s, steps, modes + h * s.N + first, nullptr, 1.0, s.N - first, u, v);
      __syncthreads();
      cplx<T> sum[giants] = {}, weighted[giants] = {};
      QF_UNROLL(2)
      for (int j = 0; j < kSide; ++j) {
        const cplx<T> z = v[n * kPitch + j], zj = scaled(z, T(j));
        for (int i = 0; i < giants; ++i) {
          const T value = x[(group * giants + i) * kSide + j];
          sum[i] = {multiply_add(value, z.re, sum[i].re), multiply_add(value, z.im, sum[i].im)};
          weighted[i] = {multiply_add(value, zj.re, weighted[i].re), multiply_add(value, zj.im, weighted[i].im)};
        }
      }
      Moment mine{};
      QF_UNROLL(4)
      for (int i = 0; i < giants; ++i) {
        const int step = group * giants + i;
        const cplx<T> z = u[n * kPitch + step];
        const cplx<double> giant{double(z.re), double(z.im)}, t{double(sum[i].re), double(sum[i].im)};
        const cplx<double> t1{double(weighted[i].re), double(weighted[i].im)};
        mine.s0 = mine.s0 + giant * t;
        mine.s1 = mine.s1 + giant * (scaled(t, double(steps.giant(step))) + t1);
      }
      sums[group * kChunk + n] = mine;
      __syncthreads();
      if (threadIdx.x < kChunk && threadIdx.x < s.N - first) {
        Moment all{};
        for (int k = 0; k < groups; ++k) all = {all.s0 + sums[k * kChunk + n].s0, all.s1 + sums[k * kChunk + n].s1};
        parts[at * s.N + first + n] = all;
      }
    }
  }
}

template <class T>
void measure_rows(const Shape& s, const Mode* modes, const T* g, Moment* parts) {
  const std::size_t shared = kThreads * sizeof(Moment) + 2 * kChunk * kPitch * sizeof(cplx<T>) + kTile * sizeof(T);
  launch(measure_tiles<T>, s.rows * s.H * s.tiles(), kThreads, shared, s, modes, g, parts);
}

template void sum_rows(const Shape&, const Mode*, const cplx<double>*, double, float*);
template void sum_rows(const Shape&, const Mode*, const cplx<double>*, double, double*);
template void measure_rows(const Shape&, const Mode*, const float*, Moment*);
template void measure_rows(const Shape&, const Mode*, const double*, Moment*);

// ------------------------------------------------------------ sums of exponentials with given poles

// z = e^x, and the weights of each row: v, or conj(grad) v. They are multiplied by -i for the imaginary part of a complex sum, and by i for
// that of the gradient with respect to a complex u.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    put_poles(const Shape s, const Exponentials<T> p, const cplx<T>* grad, Mode* modes, cplx<double>* weights) {
  each_mode(s, [&](int64_t h, int64_t n) {
    modes[h * s.N + n] = {wide(p.x[h * s.N + n]), 0, 0};
    if (!weights) return;
    for (int64_t row = 0; row < s.rows; ++row) {
      const int64_t at = ((row / s.parts) * s.H + h) * s.N + n;
      cplx<double> w = wide(p.v[at]);
      if (grad) w = conjugate(wide(grad[at])) * w;
      if (row % s.parts) w = grad ? cplx<double>{-w.im, w.re} : cplx<double>{w.im, -w.re};
      weights[(row * s.H + h) * s.N + n] = w;
    }
  });
}

// The moments for output m, of its elements or of their conjugates.
__device__ __forceinline__ Moment moment_of(const Shape& s, const Moment* parts, int64_t m, int64_t h, int64_t n, bool conj) {
  const Moment re = moment(s, parts, m * s.parts, h, n);
  if (s.parts == 1) return re;
  const Moment im = moment(s, parts, 2 * m + 1, h, n);
  const cplx<double> i{0, conj ? -1.0 : 1.0};
  return {re.s0 + i * im.s0, re.s1 + i * im.s1};
}

template <class T>
Shape shape_of(const Exponentials<T>& p) {
  return {p.M * p.parts(), p.parts(), p.H, p.N, p.L};
}

template <class T>
void log_vandermonde(const LogVandermonde<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<cplx<double>> weights(s.rows * s.H * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p, nullptr, modes, weights);
  sum_rows<T>(s, modes, weights, p.complex ? 1.0 : 2.0, p.y);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) finish_adjoint(const Shape s, const LogVandermondeAdjoint<T> p, const Moment* parts) {
  each_mode(s, [&](int64_t h, int64_t n) {
    const double pairs = p.complex ? 1.0 : 2.0;  // in real sums, a mode stands for a conjugate pair
    cplx<double> dx{};
    for (int64_t m = 0; m < p.M; ++m) {
      const int64_t at = (m * s.H + h) * s.N + n;
      const Moment S = moment_of(s, parts, m, h, n, true);
      p.dv[at] = narrow<T>(conjugate(scaled(S.s0, pairs)));
      dx = dx + conjugate(wide(p.v[at]) * scaled(S.s1, pairs));
    }
    p.dx[h * s.N + n] = narrow<T>(dx);
  });
}

template <class T>
void log_vandermonde_adjoint(const LogVandermondeAdjoint<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p, nullptr, modes, nullptr);
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
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p, nullptr, modes, nullptr);
  measure_rows<T>(s, modes, p.u, parts);
  launch(finish_transpose<T>, mode_blocks(s), kThreads, 0, s, p, parts);
}

// dv = g conj(S0), dx = sum_m g conj(v S1)
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    finish_transpose_adjoint(const Shape s, const LogVandermondeTransposeAdjoint<T> p, const Moment* parts) {
  each_mode(s, [&](int64_t h, int64_t n) {
    cplx<double> dx{};
    for (int64_t m = 0; m < p.M; ++m) {
      const int64_t at = (m * s.H + h) * s.N + n;
      const Moment S = moment_of(s, parts, m, h, n, false);
      const cplx<double> g = wide(p.grad[at]);
      p.dv[at] = narrow<T>(g * conjugate(S.s0));
      dx = dx + g * conjugate(wide(p.v[at]) * S.s1);
    }
    p.dx[h * s.N + n] = narrow<T>(dx);
  });
}

// du_l = sum_n g_n conj(v_n z_n^l), or its real part if u is real, is a sum of exponentials.
template <class T>
void log_vandermonde_transpose_adjoint(const LogVandermondeTransposeAdjoint<T>& p) {
  const Shape s = shape_of(p);
  const Workspace<Mode> modes(s.H * s.N);
  const Workspace<cplx<double>> weights(s.rows * s.H * s.N);
  const Workspace<Moment> parts(s.rows * s.H * s.tiles() * s.N);
  launch(put_poles<T>, mode_blocks(s), kThreads, 0, s, p, p.grad, modes, weights);
  sum_rows<T>(s, modes, weights, 1.0, p.du);
  measure_rows<T>(s, modes, p.u, parts);
  launch(finish_transpose_adjoint<T>, mode_blocks(s), kThreads, 0, s, p, parts);
}

template <class T>
constexpr Kernels<T> kKernels = {log_vandermonde<T>, log_vandermonde_adjoint<T>, log_vandermonde_transpose<T>,
                                 log_vandermonde_transpose_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops =
    "log_vandermonde log_vandermonde_vjp log_vandermonde_complex log_vandermonde_complex_vjp log_vandermonde_transpose "
    "log_vandermonde_transpose_vjp log_vandermonde_transpose_complex log_vandermonde_transpose_complex_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
