// The short causal convolution and its gradients on a GPU: README (10)-(13). The selective scan is in cuda.hpp, one step of it in
// cuda_step.hpp.
#include "ssm/selective/cuda.hpp"
#include "ssm/selective/cuda_step.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kTile = 4 * kThreads;  // steps per thread block; neighbours in a warp are neighbours in time
// Gradients of this many taps fit in shared memory together with those of a tile: 2701 in single precision, 1293 in double.
template <class T>
constexpr int64_t kMaxTaps = (int64_t(kMaxShared / sizeof(T)) - kTile + 1 - kWarps) / (kWarps + 1);

// One channel of one item.
template <class T>
struct Row {
  const CausalConv<T>& p;
  const T *x, *initial, *w;
  const int64_t* segments;
  int64_t before;
  T bias;

  __device__ Row(const CausalConv<T>& p, int64_t row) : p(p), before(p.taps - 1) {
    const int64_t item = quotient(row, p.channels), channel = remainder(row, p.channels);
    x = p.x.at + item * p.x.item + channel * p.x.channel;
    initial = p.initial.at ? p.initial.at + item * p.initial.item + channel * p.initial.channel : nullptr;
    w = p.weight + channel * p.taps;
    bias = p.bias ? p.bias[channel] : T(0);
    segments = p.segments ? p.segments + item * p.length : nullptr;
  }
  // A sample of the initial samples or x; earlier samples are 0.
  __device__ T sample(int64_t t) const {
    if (t >= 0) return x[t * p.x.time];
    return initial && t + before >= 0 ? initial[(t + before) * p.initial.time] : T(0);
  }
  __device__ bool padding(int64_t t) const { return segments && segments[t] < 0; }
  // Whether the output at `to`, 0 <= to < length, uses the sample at `from`.
  __device__ bool together(int64_t from, int64_t to) const {
    return !segments || (from >= 0 && segments[from] == segments[to] && segments[to] >= 0);
  }
  // (10) v_t. The loop is not unrolled: with a check per tap, its loads would not overlap anyway.
  __device__ T value(int64_t t) const {
    T sum = padding(t) ? T(0) : bias;
    QF_ROLLED
    for (int64_t j = 0; j < p.taps; ++j)
      if (const int64_t from = t - before + j; together(from, t)) sum = multiply_add(w[j], sample(from), sum);
    return sum;
  }
};

// One thread block per tile of a row. Reads x once (the neighbouring tiles' samples from cache); writes out once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) convolve(const CausalConv<T> p, const int64_t tiles) {
  QF_ROLLED
  for (int64_t at = blockIdx.x; at < p.items * p.channels * tiles; at += gridDim.x) {
    const int64_t row_at = quotient(at, tiles), first = remainder(at, tiles) * kTile;
    const Row<T> row(p, row_at);
    QF_ROLLED
    for (int64_t t = first + threadIdx.x; t < min(p.length, first + kTile); t += kThreads) {
      const T v = row.value(t);
      p.out[row_at * p.length + t] = p.silu ? silu(v) : v;
    }
    if (p.final && first == 0)
      for (int64_t k = threadIdx.x; k < row.before; k += kThreads) p.final[row_at * row.before + k] = row.sample(p.length - row.before + k);
  }
}

template <class T>
void causal_conv(const CausalConv<T>& p) {
  const int64_t tiles = max((p.length + kTile - 1) / kTile, int64_t(1));
  launch(convolve<T>, p.items * p.channels * tiles, kThreads, 0, p, tiles);
}

// (11) The gradient of v_t, starting at t = `first`, for a tile and the taps - 1 outputs after it; after the last output it is 0.
template <class T>
__device__ __forceinline__ void value_gradients(const CausalConvAdjoint<T>& p, const Row<T>& row, int64_t row_at, int64_t first, T* g) {
  const auto& f = p.forward;
  const T* const grad = p.grad.at + quotient(row_at, f.channels) * p.grad.item + remainder(row_at, f.channels) * p.grad.channel;
  QF_ROLLED
  for (int64_t i = threadIdx.x; i < kTile + row.before; i += kThreads) {
    const int64_t t = first + i;
    T dv = t < f.length && !row.padding(t) ? grad[t * p.grad.time] : T(0);
    if (f.silu && t < f.length) dv *= silu_slope(row.value(t));
    g[i] = dv;
  }
}

// (12) for the sample at t, with the gradients of the tile that begins at `first`; t < 0 is an initial sample.
template <class T>
__device__ __forceinline__ T sample_gradient(const CausalConvAdjoint<T>& p, const Row<T>& row, int64_t row_at, int64_t t, int64_t first,
                                             const T* g) {
  const auto& f = p.forward;
  T sum(0);
  QF_ROLLED
  for (int64_t j = 0; j < f.taps; ++j)
    if (const int64_t to = t + row.before - j; to >= 0 && to < f.length && row.together(t, to))
      sum = multiply_add(row.w[j], g[to - first], sum);
  const int64_t k = t - f.length + row.before;  // index in the final states
  return p.grad_final && k >= 0 ? sum + p.grad_final[row_at * row.before + k] : sum;
}

// Computes dx, and the tile's parts of dweight and dbias, adjacent in `parts`. One thread block per tile of a row. Reads x and grad once;
// writes dx once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) convolve_back(const CausalConvAdjoint<T> p, const int64_t tiles, T* parts) {
  QF_SHARED(T, g);
  const auto& f = p.forward;
  T* const sums = g + kTile + f.taps - 1;  // one set per warp
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t at = blockIdx.x; at < f.items * f.channels * tiles; at += gridDim.x) {
    const int64_t row_at = quotient(at, tiles), first = remainder(at, tiles) * kTile, end = min(f.length, first + kTile);
    const Row<T> row(f, row_at);
    value_gradients(p, row, row_at, first, g);
    __syncthreads();
    QF_ROLLED
    for (int64_t t = first + threadIdx.x; t < end; t += kThreads)
      p.dx[row_at * f.length + t] = sample_gradient(p, row, row_at, t, first, g);
    if (p.dinitial && first == 0)
      for (int64_t k = threadIdx.x; k < row.before; k += kThreads)
        p.dinitial[row_at * row.before + k] = sample_gradient(p, row, row_at, k - row.before, first, g);
    for (int64_t j = 0; j <= f.taps; ++j) {  // (13); the last is dbias
      T sum(0);
      QF_ROLLED
      for (int64_t t = first + threadIdx.x; t < end; t += kThreads)
        if (const int64_t from = t - row.before + j; j == f.taps)
          sum += g[t - first];
        else if (row.together(from, t))
          sum = multiply_add(g[t - first], row.sample(from), sum);
      sum = sum_of_lanes(sum);
      if (lane == 0) sums[warp * (f.taps + 1) + j] = sum;
    }
    __syncthreads();
    for (int64_t j = threadIdx.x; j <= f.taps; j += kThreads) {
      T sum(0);
      for (int w = 0; w < kWarps; ++w) sum += sums[w * (f.taps + 1) + j];
      parts[at * (f.taps + 1) + j] = sum;
    }
  }
}

// One thread per element of dweight or dbias: sums over items and tiles in order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_parts(const CausalConvAdjoint<T> p, const int64_t tiles, const T* parts) {
  const auto& f = p.forward;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < f.channels * (f.taps + 1); at += int64_t(gridDim.x) * kThreads) {
    const int64_t channel = at / (f.taps + 1), j = at % (f.taps + 1);
    double sum = 0;
    for (int64_t item = 0; item < f.items; ++item)
      for (int64_t tile = 0; tile < tiles; ++tile) sum += double(parts[((item * f.channels + channel) * tiles + tile) * (f.taps + 1) + j]);
    if (j < f.taps)
      p.dweight[channel * f.taps + j] = T(sum);
    else if (p.dbias)
      p.dbias[channel] = T(sum);
  }
}

template <class T>
void causal_conv_adjoint(const CausalConvAdjoint<T>& p) {
  const auto& f = p.forward;
  if (f.taps > kMaxTaps<T>)
    throw DeviceError("causal_conv1d_fn: on a GPU its gradient supports at most " + std::to_string(kMaxTaps<T>) + " taps in float" +
                      std::to_string(8 * sizeof(T)) + "; use backend 'array' for more");
  const int64_t tiles = max((f.length + kTile - 1) / kTile, int64_t(1)), blocks = f.items * f.channels * tiles;
  const Workspace<T> parts(blocks * (f.taps + 1));
  const std::size_t shared = std::size_t(kTile + f.taps - 1 + kWarps * (f.taps + 1)) * sizeof(T);
  launch(convolve_back<T>, blocks, kThreads, shared, p, tiles, parts);
  launch(add_parts<T>, (f.channels * (f.taps + 1) + kThreads - 1) / kThreads, kThreads, 0, p, tiles, parts);
}

template <class T>
constexpr Kernels<T> kKernels = {{selective_scan<T, T>, selective_scan_adjoint<T, T>},
                                 {selective_scan<T, cplx<T>>, selective_scan_adjoint<T, cplx<T>>},
                                 causal_conv<T>,
                                 causal_conv_adjoint<T>,
                                 state_step<T>,
                                 state_step_adjoint<T>,
                                 nullptr,
                                 nullptr};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops =
    "causal_conv1d_fn causal_conv1d_fn_vjp selective_scan_fn selective_scan_fn_vjp selective_state_step selective_state_step_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
