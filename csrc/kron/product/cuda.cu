// Kronecker products and their gradients on a GPU: README (1)-(6). Small factors of neighbouring axes are multiplied while a slab of the
// array is in shared memory; larger factors are applied one at a time, by tiles.
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "core/lanes/lanes.hpp"
#include "kron/product/args.hpp"
#include "kron/product/formula.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int kThreads = 256;  // per block
constexpr int kSmall = 16;     // largest number of rows and columns of a small factor
constexpr int kMaxGroup = 8;   // small factors in a group
constexpr int kMaxFactors = 64;
constexpr int kColumns = 32;           // largest number of columns per slab
constexpr int64_t kSlab = 36 << 10;    // largest number of bytes per slab; a block stores two slabs and the factors
constexpr int64_t kSlabWanted = 2048;  // elements per slab; if R is small, a slab has several lines
constexpr int kSide = 64;              // rows and columns of a tile of the result
constexpr int kDepth = 16;             // terms of a tile's sums that are in shared memory at a time
constexpr int kPatch = 4;              // a thread computes kPatch x kPatch elements of a tile
constexpr int kTerms = 64;             // terms of a gradient that are summed in the type of the data
// Estimated, not measured; constant, so that results do not depend on the GPU.
constexpr int64_t kBlocksWanted = kEmulated ? 2 : kBusyBlocks;
constexpr int64_t kStoredBytes =
    kEmulated ? 16 << 10 : 256 << 20;  // bytes of the arrays that a gradient stores; larger batches are divided into chunks

// A factor (m, n), or the transpose of one (n, m).
template <class T>
struct Stage {
  const T* data;
  int64_t m, n;
  bool transposed;
  QF_HD int64_t at(int64_t i, int64_t j) const { return transposed ? j * m + i : i * n + j; }
};

// Small factors of neighbouring axes: (lines, in, R) -> (lines, out, R); largest: the largest intermediate size; rows: of all factors.
template <class T>
struct Group {
  Stage<T> stage[kMaxGroup];
  int count;
  int64_t in, out, largest, rows;
};

// Puts elements 32 apart in a slab into different banks.
QF_HD int64_t skewed(int64_t at) { return at + at / 32; }

// The slabs of an array (L, in, R): `lines` of L with `columns` of R each.
struct Slabs {
  int64_t L, R, lines, columns, size;  // size: of one buffer, skew included
  QF_HD int64_t across() const { return (R + columns - 1) / columns; }
  QF_HD int64_t count() const { return (L + lines - 1) / lines * across(); }
};

// Calls f(index in the slab, index in the array, whether it exists) for the elements of a slab with an axis of size `axis`.
template <class F>
__device__ __forceinline__ void each_number(const Slabs& s, int64_t slab, int64_t axis, F f) {
  const int64_t across = s.across(), line = quotient(slab, across) * s.lines, column = remainder(slab, across) * s.columns;
  const int numbers = int(s.lines * axis * s.columns), columns = int(s.columns);
  for (int at = threadIdx.x; at < numbers; at += kThreads) {
    const int64_t p = line * axis + at / columns, c = column + at % columns;
    f(skewed(at), p * s.R + c, p < s.L * axis && c < s.R);
  }
}

// Applies one factor along its axis, one fiber per thread, with `after` elements after the axis. The factor's rows are padded to kSmall.
template <class T>
__device__ __forceinline__ void multiply_fibers(const T* factor, int m, int n, int fibers, int after, const T* from, T* to) {
  for (int at = threadIdx.x; at < fibers; at += kThreads) {
    const int o = at / after, q = at % after;
    T x[kSmall];
    QF_UNROLL(16)
    for (int j = 0; j < kSmall; ++j) x[j] = j < n ? from[skewed((o * n + j) * after + q)] : T(0);
    QF_ROLLED
    for (int i = 0; i < m; ++i) {
      T sum(0);
      QF_UNROLL(4)
      for (int j = 0; j < kSmall; j += 4)
        if (j < n) {
          const Quad<T> k = quad(factor + i * kSmall + j);
          QF_UNROLL(4)
          for (int r = 0; r < 4; ++r) sum = multiply_add(k.x[r], x[j + r], sum);
        }
      to[skewed((o * m + i) * after + q)] = sum;
    }
  }
}

// One block per slab. Reads x once and writes y once for any number of factors.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) multiply_group(const Group<T> g, const Slabs s, const T* x, T* y) {
  QF_SHARED(T, factors);
  int64_t rows = 0;
  for (int k = 0; k < g.count; ++k) {
    const Stage<T>& f = g.stage[k];
    for (int at = threadIdx.x; at < int(f.m) * kSmall; at += kThreads) {
      const int i = at / kSmall, j = at % kSmall;
      factors[rows * kSmall + at] = j < f.n ? f.data[f.at(i, j)] : T(0);
    }
    rows += f.m;
  }
  T *from = factors + rows * kSmall, *to = from + s.size;
  for (int64_t slab = blockIdx.x; slab < s.count(); slab += gridDim.x) {
    each_number(s, slab, g.in, [&](int64_t at, int64_t in, bool exists) { from[at] = exists ? x[in] : T(0); });
    __syncthreads();
    int64_t before = s.lines;
    const T* factor = factors;
    for (int k = 0; k < g.count; ++k) {
      const int m = int(g.stage[k].m), n = int(g.stage[k].n);
      int64_t after = s.columns;
      for (int later = k + 1; later < g.count; ++later) after *= g.stage[later].n;
      multiply_fibers(factor, m, n, int(before * after), int(after), from, to);
      __syncthreads();
      before *= m, factor += m * kSmall;
      T* const other = from;
      from = to, to = other;
    }
    each_number(s, slab, g.out, [&](int64_t at, int64_t out, bool exists) {
      if (exists) y[out] = from[at];
    });
    T* const other = from;  // other threads may still read it
    from = to, to = other;
  }
}

template <class T>
void run_group(const Group<T>& g, int64_t L, int64_t R, const T* x, T* y) {
  if (L * g.out * R == 0) return;
  const int64_t capacity = kSlab / int64_t(sizeof(T)) * 32 / 33 - 1, largest = max(g.largest, int64_t(1));
  Slabs s{L, R, 1, max(min(min(R, int64_t(kColumns)), capacity / largest), int64_t(1)), 0};
  if (s.columns == R) s.lines = min(L, max(kSlabWanted / (largest * R), int64_t(1)));
  s.size = round_up(skewed(s.lines * largest * s.columns) + 1, 4);
  if (s.count() >= kTooMany) throw DeviceError("kron.matvec: x is too large for a GPU kernel");
  launch(multiply_group<T>, min(s.count(), 4 * kBlocksWanted), kThreads, std::size_t(g.rows * kSmall + 2 * s.size) * sizeof(T), g, s, x, y);
}

// Column q of the L R columns of an array (L, n, R), each with the n elements along the middle axis.
struct Column {
  int64_t first, stride;
  QF_HD Column(int64_t q, int64_t n, int64_t R) : first(R == 1 ? q * n : (q / R) * n * R + q % R), stride(R) {}
};

// Computes y (L, m, R) from x (L, n, R), one tile of the m x (L R) result per block. Reads x once per kSide rows of the factor, writes y
// once. `last`: R = 1, and the axis is contiguous.
template <class T, bool last>
__global__ void __launch_bounds__(kThreads, 1) multiply_tiles(const Stage<T> f, const int64_t L, const int64_t R, const T* x, T* y) {
  constexpr int pitch = kSide + 4, sides = kSide / kPatch;
  QF_SHARED(T, a);
  T* const b = a + kDepth * pitch;
  const int64_t down = (f.m + kSide - 1) / kSide, tiles = down * ((L * R + kSide - 1) / kSide);
  const int ti = last ? threadIdx.x % sides : threadIdx.x / sides, tq = last ? threadIdx.x / sides : threadIdx.x % sides;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t row = remainder(tile, down) * kSide, column = quotient(tile, down) * kSide;
    const Column mine(column + threadIdx.x % kSide, f.n, last ? 1 : R);
    T sum[kPatch][kPatch] = {};
    for (int64_t k = 0; k < f.n; k += kDepth) {
      for (int at = threadIdx.x; at < kDepth * kSide; at += kThreads) {
        const int j = f.transposed ? at / kSide : at % kDepth, i = f.transposed ? at % kSide : at / kDepth;
        a[j * pitch + i] = row + i < f.m && k + j < f.n ? f.data[f.at(row + i, k + j)] : T(0);
      }
      for (int at = threadIdx.x; at < kDepth * kSide; at += kThreads) {
        const int j = last ? at % kDepth : at / kSide, q = last ? at / kDepth : at % kSide;
        const int64_t from = last ? (column + q) * f.n + k + j : mine.first + (k + j) * R;
        b[j * pitch + q] = column + q < L * R && k + j < f.n ? x[from] : T(0);
      }
      __syncthreads();
      QF_UNROLL(4)
      for (int j = 0; j < kDepth; ++j) {
        T u[kPatch], v[kPatch];
        QF_UNROLL(4)
        for (int r = 0; r < kPatch; ++r) u[r] = a[j * pitch + ti + r * sides], v[r] = b[j * pitch + tq + r * sides];
        QF_UNROLL(4)
        for (int r = 0; r < kPatch; ++r) {
          QF_UNROLL(4)
          for (int c = 0; c < kPatch; ++c) sum[r][c] = multiply_add(u[r], v[c], sum[r][c]);
        }
      }
      __syncthreads();
    }
    QF_UNROLL(4)
    for (int c = 0; c < kPatch; ++c) {
      const int64_t q = column + tq + c * sides;
      const Column to(q, f.m, last ? 1 : R);
      QF_UNROLL(4)
      for (int r = 0; r < kPatch; ++r)
        if (const int64_t i = row + ti + r * sides; q < L * R && i < f.m) y[to.first + i * to.stride] = sum[r][c];
    }
  }
}

template <class T>
bool is_small(const Stage<T>& f) {
  return f.m <= kSmall && f.n <= kSmall;
}

template <class T>
Group<T> group_of(const Stage<T>* stages, int count) {
  Group<T> g{};
  g.count = count, g.in = g.out = 1;
  for (int k = 0; k < count; ++k) g.stage[k] = stages[k], g.in *= stages[k].n, g.rows += stages[k].m;
  g.largest = g.in;
  for (int k = 0; k < count; ++k) {
    g.out *= stages[k].m;
    int64_t size = g.out;
    for (int later = k + 1; later < count; ++later) size *= stages[later].n;
    g.largest = max(g.largest, size);
  }
  return g;
}

// (1) along neighbouring axes: (L, n..., R) -> (L, m..., R); if there are several factors, all must be small.
template <class T>
void multiply(const Stage<T>* stages, int count, int64_t L, int64_t R, const T* x, T* y) {
  if (is_small(stages[0])) return run_group(group_of(stages, count), L, R, x, y);
  const int64_t tiles = (stages->m + kSide - 1) / kSide * ((L * R + kSide - 1) / kSide);
  launch(R == 1 ? multiply_tiles<T, true> : multiply_tiles<T, false>, tiles, kThreads, 2 * kDepth * (kSide + 4) * sizeof(T), *stages, L, R,
         x, y);
}

template <class T>
struct Stages {
  Stage<T> list[kMaxFactors];
  int count;

  explicit Stages(const Factors<T>& f, bool flip = false) : count(f.count) {
    if (count > kMaxFactors) throw DeviceError("kron.matvec: a GPU kernel takes at most 64 factors; use backend 'array' for more");
    const bool transposed = f.transpose != flip;
    for (int k = 0; k < count; ++k) {
      const Matrix<T>& a = f.list[k];
      list[k] = {a.data, transposed ? a.n : a.m, transposed ? a.m : a.n, transposed};
    }
  }
};

// Axes [first, first + count), for one launch.
struct Run {
  int first, count;
  int64_t in, out;
};

// Runs of small factors whose slabs fit, and individual larger factors. Those that shrink the array most come first: (3).
template <class T>
int runs_of(const Stages<T>& s, Run* runs) {
  const int64_t capacity = kSlab / int64_t(sizeof(T)) * 32 / 33 - 1;
  int count = 0;
  for (int k = 0; k < s.count;) {
    int n = 1;
    while (k + n < s.count && n < kMaxGroup && is_small(s.list[k]) && is_small(s.list[k + n])) {
      if (group_of(s.list + k, n + 1).largest * (k + n + 1 == s.count ? 1 : kSmall) > capacity) break;
      ++n;
    }
    Run run{k, n, 1, 1};
    for (int i = k; i < k + n; ++i) run.in *= s.list[i].n, run.out *= s.list[i].m;
    int at = count++;
    for (; at > 0 && runs[at - 1].out - runs[at - 1].in > run.out - run.in; --at) runs[at] = runs[at - 1];
    runs[at] = run, k += n;
  }
  return count;
}

template <class T>
void apply_once(const Factors<T>& factors, const Product<T>& p) {
  const Stages<T> s(factors);
  Run runs[kMaxFactors];
  const int count = runs_of(s, runs);
  int64_t size[kMaxFactors], largest = 0;
  for (int k = 0; k < s.count; ++k) size[k] = s.list[k].n;
  const auto product = [&](int from, int to) {
    int64_t n = 1;
    for (int k = from; k < to; ++k) n *= size[k];
    return n;
  };
  const auto resize = [&](const Run& run) {
    for (int k = run.first; k < run.first + run.count; ++k) size[k] = s.list[k].m;
  };
  for (int i = 0; i + 1 < count; ++i) resize(runs[i]), largest = max(largest, p.B * product(0, s.count));
  for (int k = 0; k < s.count; ++k) size[k] = s.list[k].n;
  const Workspace<T> one(count > 1 ? largest : 0), other(count > 2 ? largest : 0);
  const T* from = p.x;
  for (int i = 0; i < count; ++i) {
    const Run& run = runs[i];
    T* const to = i + 1 == count ? p.y : i % 2 ? static_cast<T*>(other) : static_cast<T*>(one);
    multiply(s.list + run.first, run.count, p.B * product(0, run.first), product(run.first + run.count, s.count), from, to);
    resize(run);
    from = to;
  }
}

// ---------------------------------------------------------------- gradients

// (5): parts[chunk][i][j] is the sum over the columns q of a chunk of left (L, m, R) times right (L, n, R). A block computes one tile of
// side x side for one chunk. Reads left once per `side` rows of right, and right once per `side` rows of left.
template <class T, int side>
__global__ void __launch_bounds__(kThreads, 1) gram_tiles(const int64_t m, const int64_t n, const int64_t columns, const int64_t R,
                                                          const int64_t chunks, const T* left, const T* right, double* parts) {
  constexpr int pitch = kTerms + 1, sides = side / kPatch, splits = kThreads / (sides * sides);
  QF_SHARED(T, a);
  T* const b = a + side * pitch;
  const int split = threadIdx.x % splits, patch = threadIdx.x / splits, ti = patch / sides, tj = patch % sides;
  const int64_t down = (m + side - 1) / side, tiles = down * ((n + side - 1) / side);
  for (int64_t at = blockIdx.x; at < tiles * chunks; at += gridDim.x) {
    const int64_t chunk = quotient(at, tiles), tile = remainder(at, tiles);
    const int64_t row = remainder(tile, down) * side, column = quotient(tile, down) * side;
    double total[kPatch][kPatch] = {};
    for (int64_t first = chunk * kTerms; first < columns; first += chunks * kTerms) {
      const auto load = [&](const T* from, int64_t size, int64_t begin, T* to) {
        const Column mine(first + threadIdx.x % kTerms, size, R);
        for (int k = threadIdx.x; k < side * kTerms; k += kThreads) {
          const int i = R == 1 ? k % side : k / kTerms, q = R == 1 ? k / side : k % kTerms;
          const int64_t at = R == 1 ? (first + q) * size + begin + i : mine.first + (begin + i) * R;
          to[i * pitch + q] = begin + i < size && first + q < columns ? from[at] : T(0);
        }
      };
      load(left, m, row, a), load(right, n, column, b);
      __syncthreads();
      T sum[kPatch][kPatch] = {};
      QF_UNROLL(2)
      for (int q = split; q < kTerms; q += splits) {
        T u[kPatch], v[kPatch];
        QF_UNROLL(4)
        for (int r = 0; r < kPatch; ++r) u[r] = a[(ti + r * sides) * pitch + q], v[r] = b[(tj + r * sides) * pitch + q];
        QF_UNROLL(4)
        for (int r = 0; r < kPatch; ++r) {
          QF_UNROLL(4)
          for (int c = 0; c < kPatch; ++c) sum[r][c] = multiply_add(u[r], v[c], sum[r][c]);
        }
      }
      QF_UNROLL(4)
      for (int r = 0; r < kPatch; ++r) {
        QF_UNROLL(4)
        for (int c = 0; c < kPatch; ++c) total[r][c] += double(sum[r][c]);
      }
      __syncthreads();
    }
    QF_UNROLL(4)
    for (int r = 0; r < kPatch; ++r) {
      QF_UNROLL(4)
      for (int c = 0; c < kPatch; ++c) {
        for (int by = splits / 2; by; by /= 2) total[r][c] += shuffle_xor(total[r][c], by);
        const int64_t i = row + ti + r * sides, j = column + tj + c * sides;
        if (split == 0 && i < m && j < n) parts[(chunk * m + i) * n + j] = total[r][c];
      }
    }
  }
}

// One thread per element of a factor's gradient: adds the chunks in order, to the previous `sums` if `accumulate`.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    add_parts(const Stage<T> f, const int64_t chunks, const double* parts, const bool accumulate, double* sums, T* to) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < f.m * f.n; at += int64_t(gridDim.x) * kThreads) {
    double sum = accumulate ? sums[at] : 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += parts[chunk * f.m * f.n + at];
    sums[at] = sum;
    to[f.at(at / f.n, at % f.n)] = T(sum);
  }
}

template <class T>
void add_gram(const Stage<T>& f, int64_t columns, int64_t R, const T* left, const T* right, bool accumulate, double* sums, T* to) {
  const int64_t side = is_small(f) ? kSmall : kSide, tiles = (f.m + side - 1) / side * ((f.n + side - 1) / side);
  const int64_t chunks = tiles ? min((columns + kTerms - 1) / kTerms, max(kBlocksWanted / tiles, int64_t(1))) : 0;
  const Workspace<double> parts(chunks * f.m * f.n);
  launch(is_small(f) ? gram_tiles<T, kSmall> : gram_tiles<T, kSide>, tiles * chunks, kThreads, 2 * side * (kTerms + 1) * sizeof(T), f.m,
         f.n, columns, R, chunks, left, right, parts);
  launch(add_parts<T>, (f.m * f.n + kThreads - 1) / kThreads, kThreads, 0, f, chunks, parts, accumulate, sums, to);
}

// README (4) to (6), in chunks of the batch.
template <class T>
void adjoint(const Adjoint<T>& q) {
  const Stages<T> forward(q.factors), backward(q.factors, true);
  const Stage<T>* const stage = forward.list;
  const GradientSizes size(stage, forward.count);
  const int64_t N = int64_t(size.N), M = int64_t(size.M);
  if (q.B == 0 || N == 0 || M == 0) {
    set_zero(q.dx, q.B * N);
    for (int k = 0; k < forward.count; ++k) set_zero(q.dfactors[k], stage[k].m * stage[k].n);
    return;
  }
  const double each = size.arrays + 2 * size.largest;
  const int64_t rows = max(min(q.B, int64_t(double(kStoredBytes) / double(sizeof(T)) / each)), int64_t(1));
  const Workspace<T> workspace(int64_t(each) * rows);
  const Workspace<double> sums(int64_t(size.entries));
  const T* inputs[kMaxFactors];
  const auto apply = [&](bool transposed, int k, int64_t L, int64_t R, const T* from, T* to) {
    multiply((transposed ? backward : forward).list + k, 1, L, R, from, to);
  };
  for (int64_t b = 0; b < q.B; b += rows) {
    double* to = sums;
    const auto gram = [&](int k, int64_t L, int64_t R, const T* g, const T* x) {
      add_gram(stage[k], L * R, R, g, x, b > 0, to, q.dfactors[k]);
      to += stage[k].m * stage[k].n;
    };
    const int64_t B = min(rows, q.B - b);
    gradient<T>(stage, forward.count, B, q.x + b * N, q.grad + b * M, q.dx + b * N, inputs, workspace,
                workspace + int64_t(size.arrays) * rows, int64_t(size.largest) * B, apply, gram);
  }
}

QF_KERNELS(nullptr, nullptr, nullptr, apply_once<T>, adjoint<T>)
extern const char* const ops;
const char* const ops = "matvec matvec_vjp rmatvec rmatvec_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
