// The linear scan and its gradients on a GPU. Steps are composed as maps: README (4). If enough scans are adjacent in memory, each thread
// processes one scan, step by step, as on the CPU.
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/scan/cuda.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

constexpr int kThreads = 128;                 // per thread block
constexpr int kItems = 4;                     // steps per thread in a tile
constexpr int64_t kTile = kThreads * kItems;  // steps per tile
// Estimates, not measurements. Constants, so that the bits do not depend on the GPU.
constexpr int64_t kThreadsWanted = 512 * 132;  // with at least this many scans, each gets a thread, in any layout
constexpr int64_t kPartSteps = 4 * kTile;      // minimum steps per part

// Addresses of one scan's operands at its first step, which is the last one in memory if `backwards`. There are fewer than 2^31 scans.
template <class P>
struct Where {
  const P& p;
  int64_t row, j;
  bool backwards;

  __device__ Where(const P& p, int64_t scan, bool backwards)
      : p(p), row(quotient(scan, p.rows.inner)), j(remainder(scan, p.rows.inner)), backwards(backwards) {}
  template <class E>
  __device__ E* operator()(E* array, int o) const {
    if (!array) return array;
    const auto& r = p.rows;
    return array + offset(o) + j * r.across[o] + (backwards ? max(r.length - 1, int64_t(0)) * r.along[o] : 0);
  }
  // r.offset, using 32-bit divisions.
  __device__ int64_t offset(int o) const {
    int64_t at = 0, rest = row;
    QF_ROLLED
    for (int i = p.rows.rank - 1; i >= 0; --i) {
      at += remainder(rest, p.rows.shape[i]) * p.rows.outer[o][i];
      rest = quotient(rest, p.rows.shape[i]);
    }
    return at;
  }
  __device__ int64_t stride(int o) const { return backwards ? -p.rows.along[o] : p.rows.along[o]; }
};

// One scan: returns its steps and its initial state, and stores its states. README (1).
template <class E>
struct Forward {
  using Number = E;
  using P = Linear<E>;
  const E *a, *b, *h0;
  E* h;
  int64_t at_a, at_b, at_h;

  __device__ Forward(const P& p, int64_t scan) {
    const Where<P> where(p, scan, p.reverse);
    a = where(p.a, P::kA), b = where(p.b, P::kB), h0 = where(p.h0, P::kH0), h = where(p.h, P::kH);
    at_a = where.stride(P::kA), at_b = where.stride(P::kB), at_h = where.stride(P::kH);
  }
  __device__ Stretch<E> step_of(int64_t i) const { return {a[i * at_a], b[i * at_b]}; }
  __device__ E start() const { return h0 ? *h0 : E{}; }
  __device__ E before(int64_t) const { return E{}; }
  __device__ void put(int64_t i, E state, E) const { h[i * at_h] = state; }
  __device__ void finish(int64_t, E) const {}
};

// README (2), (3): from the last step to the first, mu goes to db; the states in da are replaced by mu conj(h_before).
template <class E>
struct Backward {
  using Number = E;
  using P = LinearAdjoint<E>;
  const E *a, *grad, *h0;
  E *da, *db, *dh0;
  int64_t at_a, at_grad, at_da, at_db, length;

  __device__ Backward(const P& p, int64_t scan) : length(p.rows.length) {
    const Where<P> where(p, scan, !p.reverse);
    a = where(p.a, P::kA), grad = where(p.grad, P::kGrad), h0 = where(p.h0, P::kH0);
    da = where(p.da, P::kDa), db = where(p.db, P::kDb), dh0 = where(p.dh0, P::kDh0);
    at_a = where.stride(P::kA), at_grad = where.stride(P::kGrad), at_da = where.stride(P::kDa), at_db = where.stride(P::kDb);
  }
  __device__ Stretch<E> step_of(int64_t i) const { return {i ? conjugate(a[(i - 1) * at_a]) : E{}, grad[i * at_grad]}; }
  __device__ E start() const { return E{}; }
  __device__ E before(int64_t i) const { return i + 1 < length ? da[(i + 1) * at_da] : h0 ? *h0 : E{}; }  // the state before step i
  __device__ void put(int64_t i, E mu, E h_before) const {
    db[i * at_db] = mu;
    da[i * at_da] = factor_adjoint(mu, h_before);
  }
  __device__ void finish(int64_t n, E mu) const {
    if (dh0) *dh0 = n ? conjugate(a[(n - 1) * at_a]) * mu : E{};
  }
};

template <class E>
__device__ __forceinline__ Stretch<E> identity() {
  if constexpr (std::is_arithmetic<E>::value)
    return {E(1), E{}};
  else
    return {{1, 0}, E{}};
}

// Composes a thread block's ranges of steps, one per thread. Returns the composition of the ranges before this thread's in its warp;
// `totals` receives each warp's total. One barrier; the caller needs another before the next call, which overwrites `totals`.
template <class E>
__device__ __forceinline__ Stretch<E> ahead_in_warp(Stretch<E> mine, Stretch<E>* totals) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Stretch<E> sum = mine;
  QF_UNROLL(5)
  for (int by = 1; by < kWarp; by *= 2) {
    const Stretch<E> before = shuffle_up(sum, by);
    if (lane >= by) sum = compose(before, sum);
  }
  Stretch<E> ahead = shuffle_up(sum, 1);
  if (lane == 0) ahead = identity<E>();
  if (lane == kWarp - 1) totals[warp] = sum;
  __syncthreads();
  return ahead;
}
// The state before this thread's range of steps; `state` is advanced over all steps of the thread block.
template <class E>
__device__ __forceinline__ E state_before_mine(Stretch<E> mine, E& state, Stretch<E>* totals) {
  const Stretch<E> ahead = ahead_in_warp(mine, totals);
  E before_warp{};
  QF_UNROLL(4)
  for (int w = 0; w < kThreads / kWarp; ++w) {
    if (w == int(threadIdx.x) / kWarp) before_warp = state;
    state = after(totals[w], state);
  }
  return after(ahead, before_warp);
}

// Reads a thread's steps in the tile that begins at `first`. Returns their composition.
template <class S, class E>
__device__ __forceinline__ Stretch<E> read_steps(const S& scan, int64_t first, int64_t end, Stretch<E> (&steps)[kItems]) {
  const int64_t mine = first + threadIdx.x * kItems;
  const int count = int(min(end - mine, int64_t(kItems)));
  QF_UNROLL(4)
  for (int k = 0; k < kItems; ++k) steps[k] = k < count ? scan.step_of(mine + k) : identity<E>();
  Stretch<E> all = steps[0];
  QF_UNROLL(3)
  for (int k = 1; k < kItems; ++k) all = compose(all, steps[k]);
  return all;
}

// Each scan is cut into `count` parts of `steps` steps.
struct Parts {
  int64_t count, steps;
};

// One thread block per part: the composition of all its steps. Reads a and b once.
template <class S, class E = typename S::Number>
__global__ void __launch_bounds__(kThreads, 1) scan_totals(const typename S::P p, const Parts parts, Stretch<E>* part_totals) {
  QF_SHARED(Stretch<E>, totals);
  for (int64_t at = blockIdx.x; at < p.rows.rows * p.rows.inner * parts.count; at += gridDim.x) {
    const S scan(p, quotient(at, parts.count));
    const int64_t begin = remainder(at, parts.count) * parts.steps, end = min(p.rows.length, begin + parts.steps);
    Stretch<E> sum = identity<E>();
    for (int64_t first = begin; first < end; first += kTile) {
      Stretch<E> steps[kItems];
      ahead_in_warp(read_steps(scan, first, end, steps), totals);
      QF_ROLLED
      for (int w = 0; w < kThreads / kWarp; ++w) sum = compose(sum, totals[w]);
      __syncthreads();
    }
    if (threadIdx.x == 0) part_totals[at] = sum;
  }
}

// One thread per scan: the initial state of each of its parts, and the state that the last step of the part reads, because the next part
// overwrites it.
template <class S, class E = typename S::Number>
__global__ void __launch_bounds__(kThreads, 1)
    scan_starts(const typename S::P p, const Parts parts, const Stretch<E>* part_totals, E* starts, E* edges) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < p.rows.rows * p.rows.inner; at += stride) {
    const S scan(p, at);
    E state = scan.start();
    for (int64_t i = at * parts.count, part = 1; part <= parts.count; ++i, ++part) {
      starts[i] = state;
      edges[i] = scan.before(min(p.rows.length, part * parts.steps) - 1);
      state = after(part_totals[i], state);
    }
  }
}

// One thread block per part, in tiles. Reads a and b (and the states) once; writes h (da and db) once.
template <class S, class E = typename S::Number>
__global__ void __launch_bounds__(kThreads, 1) scan_along(const typename S::P p, const Parts parts, const E* starts, const E* edges) {
  QF_SHARED(Stretch<E>, totals);
  for (int64_t at = blockIdx.x; at < p.rows.rows * p.rows.inner * parts.count; at += gridDim.x) {
    const S scan(p, quotient(at, parts.count));
    const int64_t begin = remainder(at, parts.count) * parts.steps, end = min(p.rows.length, begin + parts.steps);
    E state = starts ? starts[at] : scan.start();
    for (int64_t first = begin; first < end; first += kTile) {
      const int64_t mine = first + threadIdx.x * kItems;
      const int count = int(min(end - mine, int64_t(kItems)));
      Stretch<E> steps[kItems];
      E before[kItems];
      const Stretch<E> together = read_steps(scan, first, end, steps);
      QF_UNROLL(4)
      for (int k = 0; k < kItems; ++k) before[k] = k >= count ? E{} : edges && mine + k + 1 == end ? edges[at] : scan.before(mine + k);
      E x = state_before_mine(together, state, totals);  // has a barrier between all reads and the first write
      QF_UNROLL(4)
      for (int k = 0; k < kItems; ++k)
        if (k < count) {
          x = step(steps[k].a, x, steps[k].b);
          scan.put(mine + k, x, before[k]);
        }
      if (count > 0 && mine + count == p.rows.length) scan.finish(p.rows.length, x);
      __syncthreads();
    }
  }
}

// One thread per scan. Gives the same bits as the recurrence. Reads a and b (and the states) once; writes h (da and db) once.
template <class S, class E = typename S::Number>
__global__ void __launch_bounds__(kThreads, 1) scan_across(const typename S::P p) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < p.rows.rows * p.rows.inner; at += stride) {
    const S scan(p, at);
    E x = scan.start();
    QF_UNROLL(4)
    for (int64_t i = 0; i < p.rows.length; ++i) {
      const Stretch<E> s = scan.step_of(i);
      x = step(s.a, x, s.b);
      scan.put(i, x, scan.before(i));
    }
    scan.finish(p.rows.length, x);
  }
}

template <class S>
void run(const typename S::P& p, bool adjacent) {
  using E = typename S::Number;
  const auto& r = p.rows;
  const int64_t scans = r.rows * r.inner, blocks = (scans + kThreads - 1) / kThreads;
  if (scans >= kTooMany) throw DeviceError("linear_scan: 2^31 or more scans are too many for a GPU kernel");
  if (r.length == 0 || scans >= kThreadsWanted || (adjacent && r.inner >= kThreads)) return launch(scan_across<S>, blocks, kThreads, 0, p);
  const std::size_t shared = kThreads / kWarp * sizeof(Stretch<E>);
  int64_t count = scans ? min((kBusyBlocks + scans - 1) / scans, r.length / kPartSteps) : 1;
  if (count <= 1) return launch(scan_along<S>, scans, kThreads, shared, p, Parts{1, r.length}, nullptr, nullptr);
  const int64_t steps = round_up((r.length + count - 1) / count, kTile);
  count = (r.length + steps - 1) / steps;
  const Parts parts{count, steps};
  const Workspace<Stretch<E>> totals(scans * count);
  const Workspace<E> starts(scans * count), edges(scans * count);
  launch(scan_totals<S>, scans * count, kThreads, shared, p, parts, totals);
  launch(scan_starts<S>, blocks, kThreads, 0, p, parts, totals, starts, edges);
  launch(scan_along<S>, scans * count, kThreads, shared, p, parts, starts, edges);
}

template <class E>
void linear(const Linear<E>& p) {
  run<Forward<E>>(p, p.rows.across[Linear<E>::kB] == 1 && p.rows.across[Linear<E>::kH] == 1);
}

template <class E>
void backward(const LinearAdjoint<E>& p) {
  using P = LinearAdjoint<E>;
  run<Backward<E>>(p, p.rows.across[P::kGrad] == 1 && p.rows.across[P::kDb] == 1);
}

// Recomputes the states into da, then scans from the other end.
template <class E>
void linear_adjoint(const LinearAdjoint<E>& p) {
  using P = LinearAdjoint<E>;
  const auto& r = p.rows;
  linear(Linear<E>{p.a, p.b, p.h0, p.da, rows_of(r, {P::kA, P::kB, P::kH0, P::kDa}), p.reverse, p.threads});
  backward(p);
}

template void linear(const Linear<cplx<float>>&);
template void linear(const Linear<cplx<double>>&);
template void backward(const LinearAdjoint<cplx<float>>&);
template void backward(const LinearAdjoint<cplx<double>>&);

template <class T>
constexpr Kernels<T> kKernels = {{linear<T>, linear_adjoint<T>}, {linear<cplx<T>>, linear_adjoint<cplx<T>>}};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "linear_scan linear_scan_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
