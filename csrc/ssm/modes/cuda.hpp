// Sums over modes on a GPU, and the moments that are their transpose: README (6)-(9), a tile of 64 x 64 times a block. For cuda.cu files of
// the nouns that build on it.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/modes/args.hpp"
#include "ssm/modes/formula.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

constexpr int kThreads = 256;
constexpr int kSide = 64;  // a tile is kSide giant steps of kSide baby steps
constexpr int64_t kTile = kSide * kSide;
constexpr int kChunk = 16;         // modes whose powers are in shared memory
constexpr int kPitch = kSide + 1;  // so that neighbouring modes lie in other banks
constexpr int kRun = 8;            // powers that one exponential starts
constexpr int kPatch = 4;          // a thread has kPatch x kPatch numbers of a tile

// A mode as the sums need it. Where `origin` is not 0 it grows, and stands for z^(l - origin), l <= origin.
struct Mode {
  cplx<double> log;
  double low, origin;
};
__device__ __forceinline__ cplx<double> power(const Mode& mode, double t) { return raised(mode.log, mode.low, t); }

// Rows of numbers over l, as the sums see them: (m, h, l), each of one real number or of two, which are two rows.
struct Shape {
  int64_t rows, parts, H, N, L;
  QF_HD int64_t tiles() const { return (L + kTile - 1) / kTile; }
  QF_HD int64_t at(int64_t row, int64_t h, int64_t l) const { return parts * (((row / parts) * H + h) * L + l) + row % parts; }
};

// Of a tile that begins at `first`: where giant step i begins. The last ones of a row begin early, so that all have their baby steps
// within the row; those baby steps belong to others.
struct Steps {
  int64_t first, L, babies;  // babies: kSide, or the whole of a shorter row
  __device__ Steps(const Shape& s, int64_t tile) : first(tile * kTile), L(s.L), babies(min(int64_t(kSide), s.L)) {}
  __device__ int64_t giant(int i) const { return min(first + int64_t(i) * kSide, L - babies); }
  __device__ bool has(int i, int j) const { return j < babies && giant(i) + j >= first + int64_t(i) * kSide; }
  // The exponents, whose sum is l - origin: of modes that grow neither is above 0, of others none below.
  __device__ double giant_power(const Mode& mode, int i) const {
    return mode.origin > 0 ? double(giant(i) + babies - 1) - mode.origin : double(giant(i));
  }
  __device__ double baby_power(const Mode& mode, int j) const { return mode.origin > 0 ? double(j - (babies - 1)) : double(j); }
};

// count powers z^exponent(k) times w, each from the last by `factor` where the exponents are `step` apart.
template <class T, class F>
__device__ __forceinline__ void put_powers(const Mode& mode, cplx<double> w, int first, int step, F exponent, cplx<T>* to) {
  const cplx<double> factor = power(mode, step);
  double last = 0;
  cplx<double> x{};
  QF_UNROLL(1)
  for (int k = 0; k < kRun; ++k) {
    const double at = exponent(first + k);
    x = k && at == last + step ? x * factor : power(mode, at);
    last = at;
    const cplx<double> y = x * w;
    to[first + k] = {T(y.re), T(y.im)};
  }
}

// The modes of a chunk: giant steps in u, baby steps times their weights in v; 0 for modes and steps that are none. A run a thread.
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

// y[row, h, l] = factor Re sum_n w_n z_n^l; weights are (row, h, n). A block a tile of a row: writes y once, reads modes alone.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    sum_tiles(const Shape s, const Mode* modes, const cplx<double>* weights, const double factor, T* y) {
  QF_SHARED(cplx<T>, u);
  cplx<T>* const v = u + kChunk * kPitch;
  const int64_t tiles = s.tiles();
  const int ti = threadIdx.x / (kSide / kPatch), tj = threadIdx.x % (kSide / kPatch);
  for (int64_t at = blockIdx.x; at < s.rows * s.H * tiles; at += gridDim.x) {
    const int64_t row = at / tiles / s.H, h = at / tiles % s.H;
    const Steps steps(s, at % tiles);
    T total[kPatch][kPatch] = {};
    for (int64_t n = 0; n < s.N; n += kChunk) {
      put_chunk(s, steps, modes + h * s.N + n, weights + (row * s.H + h) * s.N + n, factor, s.N - n, u, v);
      __syncthreads();
      T sum[kPatch][kPatch] = {};  // of few terms: many modes are then as exact as few
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

// S0 = sum_l g_l z^l and S1 = sum_l l g_l z^l.
struct Moment {
  cplx<double> s0, s1;
};

// (9) Of one tile of a row, for every mode, into parts (row, h, tile, n). Reads g once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) measure_tiles(const Shape s, const Mode* modes, const T* g, Moment* parts) {
  constexpr int groups = kThreads / kChunk, giants = kSide / groups;  // a thread has `giants` steps of one mode
  QF_SHARED(Moment, sums);
  cplx<T>* const u = reinterpret_cast<cplx<T>*>(sums + groups * kChunk);
  cplx<T>* const v = u + kChunk * kPitch;
  T* const x = reinterpret_cast<T*>(v + kChunk * kPitch);
  const int64_t tiles = s.tiles();
  const int n = threadIdx.x % kChunk, group = threadIdx.x / kChunk;
  for (int64_t at = blockIdx.x; at < s.rows * s.H * tiles; at += gridDim.x) {
    const int64_t row = at / tiles / s.H, h = at / tiles % s.H;
    const Steps steps(s, at % tiles);
    for (int k = threadIdx.x; k < kTile; k += kThreads)
      x[k] = steps.has(k / kSide, k % kSide) ? g[s.at(row, h, steps.giant(k / kSide) + k % kSide)] : T(0);
    for (int64_t first = 0; first < s.N; first += kChunk) {
      put_chunk(s, steps, modes + h * s.N + first, nullptr, 1.0, s.N - first, u, v);
      __syncthreads();
      cplx<T> sum[giants] = {}, weighed[giants] = {};
      QF_UNROLL(2)
      for (int j = 0; j < kSide; ++j) {
        const cplx<T> z = v[n * kPitch + j], zj = scaled(z, T(j));
        for (int i = 0; i < giants; ++i) {
          const T value = x[(group * giants + i) * kSide + j];
          sum[i] = {multiply_add(value, z.re, sum[i].re), multiply_add(value, z.im, sum[i].im)};
          weighed[i] = {multiply_add(value, zj.re, weighed[i].re), multiply_add(value, zj.im, weighed[i].im)};
        }
      }
      Moment mine{};
      QF_UNROLL(4)
      for (int i = 0; i < giants; ++i) {
        const int step = group * giants + i;
        const cplx<T> z = u[n * kPitch + step];
        const cplx<double> giant{double(z.re), double(z.im)}, t{double(sum[i].re), double(sum[i].im)};
        const cplx<double> t1{double(weighed[i].re), double(weighed[i].im)};
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

// All moments of g, in `parts`, which has room for rows H tiles N of them.
template <class T>
void measure_rows(const Shape& s, const Mode* modes, const T* g, Moment* parts) {
  const std::size_t shared = kThreads * sizeof(Moment) + 2 * kChunk * kPitch * sizeof(cplx<T>) + kTile * sizeof(T);
  launch(measure_tiles<T>, s.rows * s.H * s.tiles(), kThreads, shared, s, modes, g, parts);
}

// Those of one row and mode, over tiles in their order.
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

// f(h, n) for every mode, a thread each.
template <class F>
__device__ __forceinline__ void each_mode(const Shape& s, F f) {
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < s.H * s.N; at += int64_t(gridDim.x) * kThreads)
    f(at / s.N, at % s.N);
}
inline int64_t mode_blocks(const Shape& s) { return (s.H * s.N + kThreads - 1) / kThreads; }

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
