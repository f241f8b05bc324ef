// Shared by Gated KalmaNet and its gradient on a GPU, README (1)-(10): the layout of a head's vectors and square matrices, and its ridge
// regressions. A thread block processes one head at a time. Square matrices are stored in full. Each column i belongs to four neighbouring
// threads: only they update it and compute the products sum_j x_j S(j, i) with it, so only vectors need a barrier.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "core/lanes/elementary.hpp"
#include "ssm/kalmanet/args.hpp"
#include "ssm/kalmanet/formula.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

constexpr int kThreads = 256;                  // maximum per thread block; a small head has fewer
constexpr int kParts = 4;                      // threads per column
constexpr std::size_t kMaxShared = 96 << 10;   // bytes per thread block; every GPU since sm_80 allows as much, an H100 twice as much
constexpr int64_t kHeadsAtOnce = kBusyBlocks;  // at most; each needs its own part of the workspace

// ---------------------------------------------------------------- memory layout

constexpr int kSquares = 3;  // M (or the factor of the exact solver), H, U

// The vectors form one block, followed by one block per square matrix. As many blocks as fit are in shared memory; the others are in the
// thread block's part of a workspace.
template <class A>
struct Layout {
  int64_t vectors, pitch, square;  // elements in all vectors, in a row, in a square matrix
  int in_shared = 0;               // number of blocks in shared memory
  Layout(int64_t D, int64_t count)
      : vectors(round_up(count * D, 4)), pitch(round_up(D, 128 / sizeof(A)) + 32 / sizeof(A)), square(D * pitch) {
    while (in_shared <= kSquares && std::size_t(offset(in_shared + 1)) * sizeof(A) <= kMaxShared) ++in_shared;
  }
  QF_HD int64_t offset(int i) const { return i ? vectors + (i - 1) * square : 0; }
  std::size_t shared() const { return std::size_t(offset(in_shared)) * sizeof(A); }
  QF_HD int64_t rest() const { return offset(kSquares + 1) - offset(in_shared); }  // elements of the workspace per thread block
  __device__ A* block(int i, A* shared, A* workspace) const {
    if (i < in_shared) return shared + offset(i);
    return workspace + blockIdx.x * rest() + offset(i) - offset(in_shared);
  }
};

template <class A>
struct Square {
  A* at;
  int pitch;
  __device__ A& operator()(int j, int i) const { return at[j * pitch + i]; }
};

// Calls add(j, i, sums) for the elements of each column i, then put(i, sums) once per column; the sums are over j.
template <int R, class A, class Add, class Put>
__device__ __forceinline__ void for_columns(int D, Add add, Put put) {
  const int column = threadIdx.x / kParts, part = threadIdx.x % kParts, at_once = blockDim.x / kParts;
  for (int first = 0; first < D; first += at_once) {
    const int i = first + column;
    A sums[R] = {};
    for (int j = part; j < (i < D ? D : 0); j += kParts) add(j, i, sums);
    QF_UNROLL(2)
    for (int r = 0; r < R; ++r) {
      sums[r] += shuffle_xor(sums[r], 1);
      sums[r] += shuffle_xor(sums[r], 2);
    }
    if (i < D && part == 0) put(i, sums);
  }
}
// Calls f(i) for every i < n, distributed over the threads.
template <class F>
__device__ __forceinline__ void for_each(int n, F f) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) f(i);
}

// A sum over i < n; add(i, sum) returns the sum with term i added. Every warp computes the whole sum, which avoids a barrier.
template <class A, class F>
__device__ __forceinline__ A sum_over(int n, F add) {
  A sum(0);
  for (int i = threadIdx.x % kWarp; i < n; i += kWarp) sum = add(i, sum);
  return sum_of_lanes(sum);
}
template <class A>
__device__ __forceinline__ A dot(int D, const A* a, const A* b) {
  return sum_over<A>(D, [&](int i, A sum) { return multiply_add(a[i], b[i], sum); });
}

// ---------------------------------------------------------------- shared by all heads of a call

// (5) The polynomial, up to degree `last` in S.
template <class A>
struct Series {
  int64_t last;
  A upper_end;
  const A *even, *odd;
};

template <class T, class A>
struct Problem {
  Gka<T> p;
  Solver solver;
  bool keeps_H;  // whether any result depends on H
  int64_t heads;
  Layout<A> layout;
  Series<A> series{};
  const double* norms = nullptr;  // norms of H0
  const A* M0 = nullptr;          // (heads, D, D)

  Problem(const Gka<T>& args, bool needs_H, int64_t vectors)
      : p(args), solver(solver_of(args)), keeps_H(needs_H || solver != Solver::none), heads(args.B * args.heads), layout(args.D, vectors) {
    if (heads >= kTooMany) throw DeviceError("gka: 2^31 or more heads are too many for a GPU kernel");
  }
  int64_t blocks() const { return min(heads, kHeadsAtOnce); }
  int threads() const { return int(min(int64_t(kThreads), round_up(kParts * p.D, kWarp))); }
  int64_t workspace() const { return blocks() * layout.rest(); }

  __device__ int64_t token(int64_t head, int64_t t) const {
    return (quotient(head, p.heads) * p.length + t) * p.heads + remainder(head, p.heads);
  }
  __device__ A alpha(int64_t token) const { return p.alpha ? A(p.alpha[token]) : A(1); }
  __device__ A decay_U(int64_t token) const { return p.g ? elementary::exp(A(p.g[token])) : A(1); }
  __device__ A decay_H(int64_t token) const { return p.gk ? elementary::exp(A(p.gk[token])) : A(1); }
  template <class E>
  __device__ E* square(E* x, int64_t head) const {  // the matrix of one head in a (B, heads, D, D) array; null if the array is
    return x ? x + head * p.D * p.D : nullptr;
  }
};

constexpr int kRun = 64;  // degrees in S per launch
template <class A>
struct Coefficients {
  A even[kRun], odd[kRun];
};
template <class A>
__global__ void __launch_bounds__(kRun, 1)
    put_coefficients(const Coefficients<A> run, const int64_t first, const int64_t end, A* even, A* odd) {
  if (const int64_t j = first + threadIdx.x; j < end) even[j] = run.even[threadIdx.x], odd[j] = run.odd[threadIdx.x];
}

// The series of a call, computed on the host from the highest degree down, stored on the device.
template <class A>
class SeriesMemory {
 public:
  template <class T>
  SeriesMemory(const Gka<T>& p, Solver solver)
      : steps_(solver == Solver::chebyshev ? p.num_iter : 0),
        negligible_(negligible_degree<T>(p.ridge_strength)),
        last_(int64_t(min(double(max<int64_t>(steps_ - 1, 0)), negligible_)) / 2),
        even_(last_ + 1),
        odd_(last_ + 1) {
    const double mu = chebyshev_root(p.ridge_strength), n = double(steps_ + 1);
    upper_end_ = A(chebyshev_upper_end(p.ridge_strength, n));
    int64_t degree = steps_ - 1;
    double geometric = 0, once = 0, twice = 0, above = 0;  // above: odd[j + 1]
    if (double(degree) > 2 * negligible_) {                // weights beyond this degree are below the square of a rounding error
      degree = int64_t(2 * negligible_);
      geometric = (1 - __builtin_pow(mu, 2 * double(steps_ - 1 - degree))) / (1 - mu * mu);
    }
    Coefficients<A> run{};
    for (; degree >= 0; --degree) {
      geometric = 1 + mu * mu * geometric;
      once = chebyshev_weight(mu, double(degree + 1), n, geometric) - once;
      twice = once - twice;
      const int64_t j = degree / 2;
      if (j > last_) continue;
      if (degree % 2) {
        run.odd[j % kRun] = A(above = degree == 1 ? twice - above / 2 : 2 * twice - above);
        continue;
      }
      run.even[j % kRun] = A(degree ? twice : twice / 2);
      if (j % kRun == 0) launch(put_coefficients<A>, 1, kRun, 0, run, j, min(j + kRun, last_ + 1), even_, odd_);
    }
  }
  Series<A> series() const { return {last_, upper_end_, even_, odd_}; }

 private:
  int64_t steps_;
  double negligible_;
  int64_t last_;
  A upper_end_;
  Workspace<A> even_, odd_;
};

// ---------------------------------------------------------------- initial states

template <class A, class T>
__device__ __forceinline__ A symmetric(int D, const T* x, int j, int i) {
  return (A(x[j * D + i]) + A(x[i * D + j])) / 2;
}
// One warp per head.
template <class T>
__global__ void __launch_bounds__(kWarp, 1) put_norms(const int64_t heads, const int D, const T* H0, double* norms) {
  for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
    const T* const H = H0 + head * D * D;
    const double norm2 = sum_over<double>(D * D, [&](int at, double sum) {
      const double value = symmetric<double>(D, H, at / D, at % D);
      return multiply_add(value, value, sum);
    });
    if (threadIdx.x == 0) norms[head] = square_root(norm2);
  }
}
// M = 16 (H^2 / F^2 - H / F), one thread per element.
template <class T, class A>
__global__ void __launch_bounds__(kThreads, 1) put_M(const int64_t heads, const int D, const T* H0, const double* norms, A* M0) {
  const int64_t size = int64_t(D) * D;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < heads * size; at += int64_t(gridDim.x) * kThreads) {
    const int64_t head = at / size;
    const int j = int(at % size / D), i = int(at % D);
    const T* const H = H0 + head * size;
    const A F = A(norms[head]);
    A product(0);
    if (norms[head] >= kMinNormal<T>) {
      for (int l = 0; l < D; ++l) product = multiply_add(A(symmetric<A>(D, H, j, l) / F), symmetric<A>(D, H, l, i), product);
      product = 16 * (product - symmetric<A>(D, H, j, i)) / F;
    }
    M0[at] = product;
  }
}

// Values that a call needs from its initial H, stored on the device.
template <class T, class A>
struct InitialState {
  Workspace<double> norms;
  Workspace<A> M0;
  explicit InitialState(Problem<T, A>& s)
      : norms(s.p.H0 ? s.heads : 0), M0(s.p.H0 && s.solver == Solver::chebyshev ? s.heads * s.p.D * s.p.D : 0) {
    if (!s.p.H0) return;
    s.norms = norms, s.M0 = M0;
    launch(put_norms<T>, s.heads, kWarp, 0, s.heads, int(s.p.D), s.p.H0, norms);
    if (s.M0) launch(put_M<T, A>, (s.heads * s.p.D * s.p.D + kThreads - 1) / kThreads, kThreads, 0, s.heads, int(s.p.D), s.p.H0, norms, M0);
  }
};

// ---------------------------------------------------------------- the state H of a head, and the regressions with it

// Handles R right-hand sides at once.
template <class T, class A, int R>
struct Regression {
  static constexpr int kVectors = 7 * R + 2;
  const Problem<T, A>& s;
  int D;
  Square<A> M, H;         // with the exact solver, M is its factor
  A *k, *h;               // h: (old H) k
  A *right, *x;           // R vectors each
  A *w, *d, *even, *odd;  // R vectors each, but 2 R in w
  double norm = 0;

  __device__ Regression(const Problem<T, A>& s, A* shared, A* workspace)
      : s(s),
        D(int(s.p.D)),
        M{s.layout.block(1, shared, workspace), int(s.layout.pitch)},
        H{s.layout.block(2, shared, workspace), int(s.layout.pitch)} {
    k = s.layout.block(0, shared, workspace);
    h = k + D, right = h + D, x = right + R * D, w = x + R * D, d = w + 2 * R * D, even = d + R * D, odd = even + R * D;
  }
  __device__ A* after() const { return odd + R * D; }  // the remaining vectors

  __device__ bool zero() const { return norm < kMinNormal<T>; }

  __device__ void begin(int64_t head) {
    norm = s.norms ? s.norms[head] : 0;
    if (!s.keeps_H) return;
    const T* const H0 = s.square(s.p.H0, head);
    const A* const M0 = s.M0 ? s.M0 + head * D * D : nullptr;
    for_columns<1, A>(
        D, [&](int j, int i, A*) { H(j, i) = H0 ? symmetric<A>(D, H0, j, i) : A(0), M(j, i) = M0 ? M0[j * D + i] : A(0); }, [](int, A*) {});
  }

  // Processes one token; e is the decay of H. Calls load(), which stores k and the token's other vectors; then prepare(), which can read
  // them to compute further right-hand sides; and, after updating H and M, updated(k.k). On return, all threads can read x.
  template <class Load, class Prepare, class Updated>
  __device__ void take(A e, Load load, Prepare prepare, Updated updated) {
    __syncthreads();  // the previous token has been read
    load();
    __syncthreads();
    prepare();
    if (s.keeps_H)
      for_columns<1, A>(D, [&](int j, int i, A* sum) { *sum = multiply_add(H(j, i), k[j], *sum); }, [&](int i, A* sum) { h[i] = *sum; });
    __syncthreads();
    const A kk = dot(D, k, k);
    if (s.keeps_H) add_key(e, kk);
    updated(kk);
    solve();
    __syncthreads();
  }

  // (1), (9). Reads and writes H and M once.
  __device__ void add_key(A e, A kk) {
    const KeyUpdate<A> u = key_update<T>(e, norm, double(dot(D, k, h)), double(kk));
    norm = u.norm;
    const bool with_M = s.solver == Solver::chebyshev;
    for_columns<1, A>(
        D,
        [&](int j, int i, A*) {
          const A old = H(j, i);
          H(j, i) = multiply_add(u.e, old, A(k[j] * k[i]));
          if (!with_M) return;
          const A m_i = multiply_add(u.from_h, h[i], A(u.from_k * k[i])), m_j = multiply_add(u.from_h, h[j], A(u.from_k * k[j]));
          M(j, i) = multiply_add(u.a, M(j, i), A(u.b * old + (k[j] * m_i + m_j * k[i])));
        },
        [](int, A*) {});
  }

  // x ~ (H + lambda I)^-1 right. Without a solver, x = right; otherwise x = 0 if H is 0 (3).
  __device__ void solve() const {
    if (s.solver == Solver::none || zero())
      for_columns<1, A>(
          D, [](int, int, A*) {},
          [&](int i, A*) {
            for (int r = 0; r < R; ++r) x[r * D + i] = s.solver == Solver::none ? right[r * D + i] : A(0);
          });
    else
      s.solver == Solver::exact ? eliminate() : chebyshev();
  }

  // Multiplies R vectors, stored D elements apart, by the columns of S.
  template <class Put>
  __device__ void multiply(const Square<A>& S, const A* from, Put put) const {
    for_columns<R, A>(
        D,
        [&](int j, int i, A* sums) {
          const A value = S(j, i);
          QF_UNROLL(2)
          for (int r = 0; r < R; ++r) sums[r] = multiply_add(value, from[r * D + j], sums[r]);
        },
        [&](int i, A* sums) {
          QF_UNROLL(2)
          for (int r = 0; r < R; ++r) put(r * D + i, sums[r]);
        });
  }

  // (6), (7). Reads M once per two degrees of the polynomial and H twice in all.
  __device__ void chebyshev() const {
    const A inverse = A(1 / norm);
    const Series<A>& c = s.series;
    multiply(H, right, [&](int i, A product) {
      const A first = multiply_add(A(-inverse), product, right[i]);
      w[i] = first, d[i] = A(0), even[i] = c.even[0] * first, odd[i] = c.odd[0] * first;
    });
    for (int64_t j = 1; j <= c.last + 1; ++j) {
      __syncthreads();
      if (j > c.last) break;
      A *const from = w + (j % 2 ? 0 : R * D), *const to = w + (j % 2 ? R * D : 0);
      multiply(M, from, [&](int i, A product) {
        const A step = j == 1 ? A(product / 2) : d[i] + product, next = from[i] + step;
        d[i] = step, to[i] = next;
        even[i] = multiply_add(c.even[j], next, even[i]), odd[i] = multiply_add(c.odd[j], next, odd[i]);
      });
    }
    multiply(H, odd, [&](int i, A product) {
      const A rest = even[i] + (odd[i] - 2 * inverse * product);
      x[i] = inverse * (c.upper_end * right[i] + 16 * rest);
    });
  }

  // (10), from the first row down, applied to the right-hand sides too, in d. Makes D passes over a shrinking part of the factor, as much
  // traffic as reading and writing all of it D / 3 times.
  __device__ void eliminate() const {
    const int column = threadIdx.x / kParts, part = threadIdx.x % kParts, at_once = blockDim.x / kParts;
    const A lambda = A(s.p.ridge_strength * norm);
    for_columns<1, A>(
        D, [&](int j, int i, A*) { M(j, i) = i == j ? H(j, i) + lambda : H(j, i); },
        [&](int i, A*) {
          for (int r = 0; r < R; ++r) d[r * D + i] = right[r * D + i];
        });
    for (int p = 0; p < D; ++p) {
      __syncthreads();
      const A inverse = A(1) / M(p, p);
      for (int i = column; i < D; i += at_once) {
        if (i <= p) continue;
        const A factor = -M(p, i) * inverse;
        for (int j = p + 1 + part; j < D; j += kParts) M(j, i) = multiply_add(factor, M(p, j), M(j, i));
        for (int r = part; r < R; r += kParts) d[r * D + i] = multiply_add(factor, d[r * D + p], d[r * D + i]);
      }
    }
    for (int p = D - 1; p >= 0; --p) {
      __syncthreads();
      const A inverse = A(1) / M(p, p);
      for (int i = column; i <= p; i += at_once)
        for (int r = part; r < R; r += kParts) {
          const A known = d[r * D + p] * inverse;
          if (i == p)
            x[r * D + i] = known;
          else
            d[r * D + i] = multiply_add(A(-M(i, p)), known, d[r * D + i]);
        }
    }
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
