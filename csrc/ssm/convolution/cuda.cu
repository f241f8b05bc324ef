// Causal convolutions and their gradients on a GPU, by the right-angle product: README (1), (2), (4). Lengths are powers of two. A thread
// block keeps a row in shared memory through all layers. If the row is too long, its first and last layers go through a workspace, and each
// thread block processes one of the remaining polynomials.
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "core/lanes/elementary.hpp"
#include "ssm/convolution/args.hpp"

namespace quatrefoil::ssm::convolution {
inline namespace QF_ISA {

constexpr int kThreads = 256;                               // maximum per thread block
constexpr int kLayers = 3;                                  // layers per pass; a thread applies them to 8 numbers
constexpr int64_t kNearBytes = (kEmulated ? 4 : 64) << 10;  // longest row in shared memory
// Estimates, not measurements. Constants, so that the bits do not depend on the GPU.
constexpr int64_t kBlocksWanted = kEmulated ? 4 : kBusyBlocks;
constexpr int64_t kWorkBytes = kEmulated ? 64 << 10 : 512 << 20;  // workspace for rows; larger batches are processed in chunks

// Layout of a transform of N = 2^log numbers: `top` layers first, then blocks of N >> top.
struct Plan {
  int64_t N;
  int log, top;
  QF_HD int near() const { return log - top; }
  int threads() const { return int(max(min((N >> top) / 8, int64_t(kThreads)), int64_t(kWarp))); }
};
template <class T>
Plan plan_of(int64_t L) {
  Plan p{8, 3, 0};
  while (p.N < L) p.N *= 2, ++p.log;
  while ((p.N >> p.top) * int64_t(sizeof(cplx<T>)) > kNearBytes) ++p.top;
  return p;
}

// Index with padding: numbers 16 apart in shared memory use different banks.
QF_HD int64_t skewed(int64_t at) { return at + at / 16; }

// roots[2^s + j] is the root w of block j at level s, modulo x^n - w^2: block 0 of level 0 is x^N - i, and the blocks modulo x^(n/2) - w
// and x^(n/2) + w are blocks 2 j and 2 j + 1 of the next level.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_roots(const Plan p, cplx<T>* roots) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < p.N; at += int64_t(gridDim.x) * kThreads) {
    if (at == 0) continue;
    double turns = 0.25;  // angle of w^2, in turns
    int level = 0;
    while (at >> (level + 1)) ++level;
    for (int bit = level - 1; bit >= 0; --bit) turns = turns / 2 + ((at >> bit & 1) ? 0.5 : 0.0);
    double sine, cosine;
    elementary::sin_cos_of_turns(turns / 2, 0.0, sine, cosine);
    roots[at] = {T(cosine), T(sine)};
  }
}

// The roots of the layers below a block of level `level`.
template <class T>
struct Roots {
  const cplx<T>* table;
  int level;
  int64_t block;
  __device__ cplx<T> at(int s, int64_t j) const { return table[(int64_t(1) << (level + s)) + (block << s) + j]; }
};

template <class T>
__device__ __forceinline__ cplx<T> product(cplx<T> a, cplx<T> b) {
  return {multiply_add(a.re, b.re, -a.im * b.im), multiply_add(a.re, b.im, a.im * b.re)};
}
template <class T>
__device__ __forceinline__ cplx<T> times_i(cplx<T> a) {
  return {-a.im, a.re};
}

// One layer: the remainders of a + b x^h modulo x^h - w and x^h + w. Its inverse doubles both numbers.
template <bool back, class T>
__device__ __forceinline__ void layer(cplx<T>& a, cplx<T>& b, cplx<T> w) {
  if (back) {
    const cplx<T> sum = a + b;
    b = product(a - b, conjugate(w));
    a = sum;
  } else {
    const cplx<T> less{multiply_add(-w.re, b.re, multiply_add(w.im, b.im, a.re)),
                       multiply_add(-w.re, b.im, multiply_add(-w.im, b.re, a.im))};
    a = {multiply_add(w.re, b.re, multiply_add(-w.im, b.im, a.re)), multiply_add(w.re, b.im, multiply_add(w.im, b.re, a.im))};
    b = less;
  }
}

// Up to three layers of 2^layers numbers, starting at block j of level s.
template <int layers, bool back, class T>
__device__ __forceinline__ void some_layers(cplx<T> (&x)[1 << layers], const Roots<T>& roots, int s, int64_t j) {
  constexpr int half = 1 << (layers - 1);
  cplx<T> w[3];
  QF_UNROLL(3)
  for (int k = 0; k < layers; ++k) w[k] = roots.at(s + k, j << k);
  QF_UNROLL(3)
  for (int step = 0; step < layers; ++step) {
    const int k = back ? layers - 1 - step : step;
    QF_UNROLL(4)
    for (int m = 0; m < half; ++m) {
      // block b of 2^k; its root is the root of block 0, rotated by half the reversed bits of b, read as a fraction of a turn
      const int apart = half >> k, b = m / apart, first = b * 2 * apart + m % apart;
      const T r(0.70710678118654752440);
      cplx<T> root = w[k];
      if (k == 2 && b >= 2) root = {(root.re - root.im) * r, (root.re + root.im) * r};
      if (b % 2) root = times_i(root);
      layer<back>(x[first], x[first + apart], root);
    }
  }
}

// A pass over a block of 2^log numbers in shared memory.
template <int layers, bool back, class T>
__device__ __forceinline__ void pass(cplx<T>* z, int log, int s, const Roots<T>& roots) {
  const int below = log - s - layers;  // log2 of the stride
  for (int64_t t = threadIdx.x; t < int64_t(1) << (log - layers); t += blockDim.x) {
    const int64_t j = t >> below, first = (j << (log - s)) + (t & ((int64_t(1) << below) - 1));
    cplx<T> x[1 << layers];
    QF_UNROLL(8)
    for (int m = 0; m < 1 << layers; ++m) x[m] = z[skewed(first + (int64_t(m) << below))];
    some_layers<layers, back>(x, roots, s, j);
    QF_UNROLL(8)
    for (int m = 0; m < 1 << layers; ++m) z[skewed(first + (int64_t(m) << below))] = x[m];
  }
  __syncthreads();
}

// A transform, its inverse, or both. Between them it calls f(at, numbers) on eight numbers of the spectrum, starting at `at`.
template <bool forward, bool back, class T, class F>
__device__ __forceinline__ void transform(cplx<T>* z, int log, const Roots<T>& roots, F f) {
  const int odd = log % kLayers;
  if (forward) {
    if (odd == 1) pass<1, false>(z, log, 0, roots);
    if (odd == 2) pass<2, false>(z, log, 0, roots);
    for (int s = odd; s + kLayers < log; s += kLayers) pass<kLayers, false>(z, log, s, roots);
  }
  for (int64_t t = threadIdx.x; t < int64_t(1) << (log - kLayers); t += blockDim.x) {
    cplx<T> x[8] = {};
    if (forward) {
      QF_UNROLL(8)
      for (int m = 0; m < 8; ++m) x[m] = z[skewed(8 * t + m)];
      some_layers<kLayers, false>(x, roots, log - kLayers, t);
    }
    f(8 * t, x);
    if (back) {
      some_layers<kLayers, true>(x, roots, log - kLayers, t);
      QF_UNROLL(8)
      for (int m = 0; m < 8; ++m) z[skewed(8 * t + m)] = x[m];
    }
  }
  if (back) {
    __syncthreads();
    for (int s = log - 2 * kLayers; s >= odd; s -= kLayers) pass<kLayers, true>(z, log, s, roots);
    if (odd == 2) pass<2, true>(z, log, 0, roots);
    if (odd == 1) pass<1, true>(z, log, 0, roots);
  }
}

// Inputs of transforms: real rows, or the taps c_n = k_n - i r_(N-1-n), padded with zeros.
template <class T>
struct Source {
  const T *re, *im;
  int64_t re_pitch, im_pitch, re_count, im_count;
  __device__ cplx<T> at(const Plan& p, int64_t row, int64_t n) const {
    const int64_t j = p.N - 1 - n;
    return {n < re_count ? re[row * re_pitch + n] : T(0), j < im_count ? -im[row * im_pitch + j] : T(0)};
  }
};
// Outputs of transforms: the real part plus D times `skip`, or gradients of taps.
template <class T>
struct Sink {
  T *re, *im;
  int64_t re_pitch, im_pitch, re_count, im_count;
  const T *D, *skip;  // (H,) and rows of the same length as re; may be null
  int64_t H;
  __device__ void put(const Plan& p, int64_t row, int64_t n, cplx<T> z) const {
    const T scale = T(1) / T(p.N);  // a power of two
    if (n < re_count) {
      const T x = z.re * scale;
      re[row * re_pitch + n] = D ? multiply_add(D[remainder(row, H)], skip[row * re_pitch + n], x) : x;
    }
    if (const int64_t j = p.N - 1 - n; j < im_count) im[row * im_pitch + j] = -z.im * scale;
  }
};

// Applies `layers` layers, from level s on, to rows in the workspace z (rows, N). The first layers read the source; the last inverse layers
// write the sink.
template <int layers, bool back, class T>
__global__ void __launch_bounds__(kThreads, 1)
    far_pass(const Plan p, const int64_t rows, const int s, const cplx<T>* roots, cplx<T>* z, const Source<T> source, const Sink<T> sink) {
  const int log = p.log - layers, below = p.log - s - layers;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < rows << log; at += int64_t(gridDim.x) * kThreads) {
    const int64_t row = at >> log, t = at & ((int64_t(1) << log) - 1);
    const int64_t j = t >> below, first = (j << (p.log - s)) + (t & ((int64_t(1) << below) - 1));
    cplx<T> x[1 << layers];
    QF_UNROLL(8)
    for (int m = 0; m < 1 << layers; ++m) {
      const int64_t n = first + (int64_t(m) << below);
      x[m] = !back && s == 0 ? source.at(p, row, n) : z[row * p.N + n];
    }
    some_layers<layers, back>(x, Roots<T>{roots, 0, 0}, s, j);
    QF_UNROLL(8)
    for (int m = 0; m < 1 << layers; ++m) {
      const int64_t n = first + (int64_t(m) << below);
      if (back && s == 0)
        sink.put(p, row, n, x[m]);
      else
        z[row * p.N + n] = x[m];
    }
  }
}
template <bool back, class T>
void far_layers(const Plan& p, int64_t rows, const cplx<T>* roots, cplx<T>* z, const Source<T>& source, const Sink<T>& sink) {
  const int odd = p.top % kLayers;
  const auto some = [&](auto kernel, int layers, int s) {
    launch(kernel, ((rows << (p.log - layers)) + kThreads - 1) / kThreads, kThreads, 0, p, rows, s, roots, z, source, sink);
  };
  const auto first = [&] {
    if (odd == 1) some(far_pass<1, back, T>, 1, 0);
    if (odd == 2) some(far_pass<2, back, T>, 2, 0);
  };
  if (!back) first();
  for (int k = 0; k < p.top / kLayers; ++k) some(far_pass<kLayers, back, T>, kLayers, back ? p.top - kLayers * (k + 1) : odd + kLayers * k);
  if (back) first();
}

// A thread block's part of a row, in shared memory: the whole row, or one of the polynomials in the workspace.
template <class T>
struct Part {
  const Plan& p;
  int64_t row, first, size;
  Roots<T> roots;
  __device__ Part(const Plan& p, const cplx<T>* table, int64_t row, int64_t block)
      : p(p), row(row), first(block << p.near()), size(int64_t(1) << p.near()), roots{table, p.top, block} {}

  __device__ void take(const Source<T>& source, const cplx<T>* from, cplx<T>* z) const {
    for (int64_t at = threadIdx.x; at < size; at += blockDim.x)
      z[skewed(at)] = p.top ? from[row * p.N + first + at] : source.at(p, row, at);
    __syncthreads();
  }
  __device__ void give(const cplx<T>* z, cplx<T>* to, const Sink<T>& sink) const {
    for (int64_t at = threadIdx.x; at < size; at += blockDim.x) {
      if (p.top)
        to[row * p.N + first + at] = z[skewed(at)];
      else
        sink.put(p, row, at, z[skewed(at)]);
    }
    __syncthreads();
  }
};

// Computes spectra (rows, N) of rows from the source or the workspace `z`, which may be `spectra`.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    put_spectra(const Plan p, const int64_t rows, const cplx<T>* roots, const Source<T> source, const cplx<T>* z, cplx<T>* spectra) {
  QF_SHARED(cplx<T>, near);
  for (int64_t at = blockIdx.x; at < rows << p.top; at += gridDim.x) {
    const Part<T> part(p, roots, at >> p.top, at & ((int64_t(1) << p.top) - 1));
    part.take(source, z, near);
    cplx<T>* const to = spectra + part.row * p.N + part.first;
    transform<true, false>(near, p.near(), part.roots, [&](int64_t n, cplx<T>(&x)[8]) {
      QF_UNROLL(8)
      for (int m = 0; m < 8; ++m) to[n + m] = x[m];
    });
    __syncthreads();
  }
}

// Multiplies rows by the spectrum of their channel's taps. Reads a row and a spectrum once; writes a row once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) convolve(const Plan p, const int64_t rows, const int64_t H, const cplx<T>* roots,
                                                        const Source<T> source, const cplx<T>* taps, cplx<T>* z, const Sink<T> sink) {
  QF_SHARED(cplx<T>, near);
  for (int64_t at = blockIdx.x; at < rows << p.top; at += gridDim.x) {
    const Part<T> part(p, roots, at >> p.top, at & ((int64_t(1) << p.top) - 1));
    part.take(source, z, near);
    const cplx<T>* const c = taps + remainder(part.row, H) * p.N + part.first;
    transform<true, true>(near, p.near(), part.roots, [&](int64_t n, cplx<T>(&x)[8]) {
      QF_UNROLL(8)
      for (int m = 0; m < 8; ++m) x[m] = product(x[m], c[n + m]);
    });
    part.give(near, z, sink);
  }
}

// README (4). Computes du from grad times the conjugate spectrum of the taps. Adds grad times the conjugate spectrum of u to sums (groups,
// H, N), over the batch in order. Reads the spectrum of u, grad and the spectrum of the taps once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    correlate(const Plan p, const int64_t items, const int64_t H, const int64_t groups, const cplx<T>* roots, const Source<T> source,
              const cplx<T>* taps, const cplx<T>* of_u, cplx<T>* z, const Sink<T> sink, cplx<T>* sums, const bool begins) {
  QF_SHARED(cplx<T>, near);
  for (int64_t at = blockIdx.x; at < (groups * H) << p.top; at += gridDim.x) {
    const int64_t channel = remainder(at >> p.top, H), group = quotient(at >> p.top, H);
    for (int64_t item = group; item < items; item += groups) {
      const Part<T> part(p, roots, item * H + channel, at & ((int64_t(1) << p.top) - 1));
      const cplx<T>* const c = taps + channel * p.N + part.first;
      const cplx<T>* const u = of_u + part.row * p.N + part.first;
      cplx<T>* const sum = sums + (group * H + channel) * p.N + part.first;
      const bool is_first = begins && item == group;
      part.take(source, z, near);
      transform<true, true>(near, p.near(), part.roots, [&](int64_t n, cplx<T>(&x)[8]) {
        QF_UNROLL(8)
        for (int m = 0; m < 8; ++m) {
          const cplx<T> lag = product(x[m], conjugate(u[n + m]));
          sum[n + m] = is_first ? lag : sum[n + m] + lag;
          x[m] = product(x[m], conjugate(c[n + m]));
        }
      });
      part.give(near, z, sink);
    }
  }
}

// Transforms a channel's summed spectra back.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    gather(const Plan p, const int64_t H, const int64_t groups, const cplx<T>* roots, const cplx<T>* sums, cplx<T>* z, const Sink<T> sink) {
  QF_SHARED(cplx<T>, near);
  for (int64_t at = blockIdx.x; at < H << p.top; at += gridDim.x) {
    const Part<T> part(p, roots, at >> p.top, at & ((int64_t(1) << p.top) - 1));
    transform<false, true>(near, p.near(), part.roots, [&](int64_t n, cplx<T>(&x)[8]) {
      QF_ROLLED
      for (int64_t group = 0; group < groups; ++group) {
        QF_UNROLL(8)
        for (int m = 0; m < 8; ++m) x[m] = x[m] + sums[(group * H + part.row) * p.N + part.first + n + m];
      }
    });
    part.give(near, z, sink);
  }
}

// dD = sum u g: one block per row, then one thread per channel; fixed summation order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) dot_rows(const FftConvAdjoint<T> q, double* dots) {
  QF_SHARED(double, warps);
  for (int64_t row = blockIdx.x; row < q.B * q.H; row += gridDim.x) {
    double sum = 0;
    for (int64_t l = threadIdx.x; l < q.L; l += kThreads) sum += double(q.u[row * q.L + l]) * double(q.grad[row * q.L + l]);
    sum = sum_of_lanes(sum);
    if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int w = 1; w < kThreads / kWarp; ++w) sum += warps[w];
      dots[row] = sum;
    }
    __syncthreads();
  }
}
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_dots(const FftConvAdjoint<T> q, const double* dots) {
  QF_ROLLED
  for (int64_t h = int64_t(blockIdx.x) * kThreads + threadIdx.x; h < q.H; h += int64_t(gridDim.x) * kThreads) {
    double sum = 0;
    for (int64_t b = 0; b < q.B; ++b) sum += dots[b * q.H + h];
    q.dD[h] = T(sum);
  }
}

// State shared by the transforms of a call.
template <class T>
struct Transforms {
  Plan p;
  Workspace<cplx<T>> roots, taps;
  std::size_t shared;

  explicit Transforms(const FftConv<T>& f)
      : p(plan_of<T>(f.L)), roots(p.N), taps(f.H * p.N), shared(std::size_t(skewed(p.N >> p.top)) * sizeof(cplx<T>)) {
    launch(put_roots<T>, (p.N + kThreads - 1) / kThreads, kThreads, 0, p, roots);
    const Source<T> source{f.k, f.k_reverse, f.Lk, f.Lr, min(f.Lk, f.L), min(f.Lr, f.L - 1)};
    spectra(f.H, source, taps);
  }
  template <bool back>
  void far(int64_t rows, cplx<T>* z, const Source<T>& source, const Sink<T>& sink) const {
    far_layers<back, T>(p, rows, roots, z, source, sink);
  }
  void spectra(int64_t rows, const Source<T>& source, cplx<T>* to) const {
    far<false>(rows, to, source, {});
    launch(put_spectra<T>, rows << p.top, p.threads(), shared, p, rows, roots, source, to, to);
  }
  // The number of batch items whose rows fit in `arrays` workspaces.
  int64_t items(const FftConv<T>& f, int arrays) const {
    return max(min(f.B, kWorkBytes / (arrays * f.H * p.N * int64_t(sizeof(cplx<T>)))), int64_t(1));
  }
};

template <class T>
void fft_conv(const FftConv<T>& f) {
  if (f.B * f.H * f.L == 0) return;
  const Transforms<T> t(f);
  const int64_t items = t.p.top ? t.items(f, 1) : f.B;
  const Workspace<cplx<T>> z(t.p.top ? items * f.H * t.p.N : 0);
  for (int64_t b = 0; b < f.B; b += items) {
    const int64_t rows = min(items, f.B - b) * f.H, at = b * f.H * f.L;
    const Source<T> source{f.u + at, nullptr, f.L, 0, f.L, 0};
    const Sink<T> sink{f.y + at, nullptr, f.L, 0, f.L, 0, f.D, f.u + at, f.H};
    t.template far<false>(rows, z, source, sink);
    launch(convolve<T>, rows << t.p.top, t.p.threads(), t.shared, t.p, rows, f.H, t.roots, source, t.taps, z, sink);
    t.template far<true>(rows, z, source, sink);
  }
}

template <class T>
void fft_conv_adjoint(const FftConvAdjoint<T>& q) {
  set_zero(q.dk, q.H * q.Lk), set_zero(q.dk_reverse, q.H * q.Lr);
  if (q.B * q.H * q.L == 0) return set_zero(q.dD, q.H);
  const Transforms<T> t(q);
  const Plan& p = t.p;
  const int64_t items = t.items(q, p.top ? 2 : 1), groups = min(items, max(kBlocksWanted / (q.H << p.top), int64_t(1)));
  const Workspace<cplx<T>> of_u(items * q.H * p.N), z((p.top ? max(items, int64_t(1)) : 0) * q.H * p.N), sums(groups * q.H * p.N);
  for (int64_t b = 0; b < q.B; b += items) {
    const int64_t count = min(items, q.B - b), at = b * q.H * q.L;
    t.spectra(count * q.H, {q.u + at, nullptr, q.L, 0, q.L, 0}, of_u);
    const Source<T> grad{q.grad + at, nullptr, q.L, 0, q.L, 0};
    const Sink<T> du{q.du + at, nullptr, q.L, 0, q.L, 0, q.D, q.grad + at, q.H};
    t.template far<false>(count * q.H, z, grad, du);
    launch(correlate<T>, (groups * q.H) << p.top, p.threads(), t.shared, p, count, q.H, groups, t.roots, grad, t.taps, of_u, z, du, sums,
           b == 0);
    t.template far<true>(count * q.H, z, grad, du);
  }
  const Sink<T> dk{q.dk, q.dk_reverse, q.Lk, q.Lr, min(q.Lk, q.L), q.dk_reverse ? min(q.Lr, q.L - 1) : 0, nullptr, nullptr, q.H};
  launch(gather<T>, q.H << p.top, p.threads(), t.shared, p, q.H, groups, t.roots, sums, z, dk);
  t.template far<true>(q.H, z, {}, dk);
  if (!q.dD) return;
  const Workspace<double> dots(q.B * q.H);
  launch(dot_rows<T>, q.B * q.H, kThreads, kThreads / kWarp * sizeof(double), q, dots);
  launch(add_dots<T>, (q.H + kThreads - 1) / kThreads, kThreads, 0, q, dots);
}

template <class T>
constexpr Kernels<T> kKernels = {fft_conv<T>, fft_conv_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "fft_conv fft_conv_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::convolution
