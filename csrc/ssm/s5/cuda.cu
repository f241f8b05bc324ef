// S5 and its gradients on a GPU: README (1)-(6). Products of real matrices precede and follow the scans of the scan method.
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "core/lanes/lanes.hpp"
#include "ssm/s5/args.hpp"
#include "ssm/scan/cuda.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

constexpr int kThreads = 256;
constexpr int kSide = 64;  // rows and columns of a tile, with kPatch x kPatch elements per thread
constexpr int kPatch = 4;
constexpr int kDepth = 16;          // terms of the product in shared memory at a time
constexpr int kPitch = kSide + 4;   // so that rows of a transposed factor use different banks
constexpr int64_t kPartRows = 512;  // rows per partial sum; these are stored in the arrays' precision and added in double precision

// A strided real matrix, or a complex one with alternating real and imaginary rows or columns. odd_rows and odd_columns multiply the
// imaginary ones.
template <class T>
struct Matrix {
  T* at;
  int64_t row, next_row, column, next_column;  // strides to rows 2 i and 2 i + 1, and to columns
  T odd_rows, odd_columns;

  __device__ T factor(int64_t i, int64_t j) const { return (i & 1 ? odd_rows : T(1)) * (j & 1 ? odd_columns : T(1)); }
  __device__ T* operator()(int64_t i, int64_t j) const {
    return at + (i >> 1) * row + (i & 1) * next_row + (j >> 1) * column + (j & 1) * next_column;
  }
};
template <class T>
Matrix<T> real_matrix(const T* at, int64_t row, int64_t column) {
  return {const_cast<T*>(at), 2 * row, row, 2 * column, column, 1, 1};
}
template <class T>
Matrix<T> parts_in_rows(const cplx<T>* at, int64_t row, int64_t column, T odd) {
  return {const_cast<T*>(&at->re), 2 * row, 1, 4 * column, 2 * column, odd, 1};
}
template <class T>
Matrix<T> parts_in_columns(const cplx<T>* at, int64_t row, int64_t column, T odd) {
  return {const_cast<T*>(&at->re), 4 * row, 2 * row, 2 * column, 1, 1, odd};
}

// out (M, N) = factor a b + D skip, added to out if `adds`; a is (M, K), b (K, N). If `depth` is not 0, K is split into parts of `depth`
// terms, and out has one (M, N) matrix per part.
template <class T>
struct Product {
  int64_t M, N, K, depth;
  Matrix<T> a, b, out;
  T factor;
  const T *D, *skip;  // (N,), (M, N), or null
  bool adds;
  QF_HD int64_t tiles(int64_t n) const { return (n + kSide - 1) / kSide; }
  QF_HD int64_t parts() const { return depth ? (K + depth - 1) / depth : 1; }
};

// Loads kDepth x kSide elements of a factor, from row `first` and depth `k` on, padded with zeros. Neighbouring threads read neighbouring
// elements.
template <bool is_left, class T>
__device__ __forceinline__ void put_factor(const Matrix<T>& m, int64_t rows, int64_t first, int64_t end, int64_t k, T (*to)[kPitch]) {
  const int64_t along = is_left ? m.column : m.row;
  const bool deep = along <= (is_left ? m.row : m.column);
  QF_UNROLL(4)
  for (int n = threadIdx.x; n < kSide * kDepth; n += kThreads) {
    const int i = deep ? n / kDepth : n % kSide, j = deep ? n % kDepth : n / kSide;
    const int64_t at = first + i, depth = k + j;
    const bool inside = at < rows && depth < end;
    to[j][i] = !inside ? T(0) : is_left ? *m(at, depth) * m.factor(at, depth) : *m(depth, at) * m.factor(depth, at);
  }
}

template <class T>
struct Factors {
  T a[kDepth][kPitch], b[kDepth][kPitch];
};

// One thread block per tile, or per part of one. Reads a once per column of tiles and b once per row of tiles; writes out once.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) multiply_tiles(const Product<T> p) {
  QF_SHARED(Factors<T>, factors);  // two buffers: one is written while the other is read
  const int ti = threadIdx.x / (kSide / kPatch), tj = threadIdx.x % (kSide / kPatch);
  int buffer = 0;
  for (int64_t block = blockIdx.x; block < p.tiles(p.M) * p.tiles(p.N) * p.parts(); block += gridDim.x) {
    const int64_t of_column = quotient(block, p.tiles(p.N)), column = remainder(block, p.tiles(p.N)) * kSide;
    const int64_t row = remainder(of_column, p.tiles(p.M)) * kSide, part = quotient(of_column, p.tiles(p.M)),
                  end = p.depth ? min(p.K, (part + 1) * p.depth) : p.K;
    T total[kPatch][kPatch] = {};
    for (int64_t k = part * p.depth; k < end; k += kDepth, buffer ^= 1) {
      Factors<T>& f = factors[buffer];
      put_factor<true>(p.a, p.M, row, end, k, f.a);
      put_factor<false>(p.b, p.N, column, end, k, f.b);
      __syncthreads();
      T sum[kPatch][kPatch] = {};  // sums of kDepth terms, to limit rounding errors
      QF_UNROLL(4)
      for (int l = 0; l < kDepth; ++l)
        for (int i = 0; i < kPatch; ++i)
          for (int j = 0; j < kPatch; ++j)
            sum[i][j] = multiply_add(f.a[l][ti + i * (kSide / kPatch)], f.b[l][tj + j * (kSide / kPatch)], sum[i][j]);
      for (int i = 0; i < kPatch; ++i)
        for (int j = 0; j < kPatch; ++j) total[i][j] += sum[i][j];
    }
    QF_UNROLL(4)
    for (int i = 0; i < kPatch; ++i) {
      QF_UNROLL(4)
      for (int j = 0; j < kPatch; ++j) {
        const int64_t r = row + ti + i * (kSide / kPatch), c = column + tj + j * (kSide / kPatch);
        if (r >= p.M || c >= p.N) continue;
        T* const to = p.out(part * p.M + r, c);
        T value = p.factor * total[i][j];
        if (p.D) value = multiply_add(p.D[c], p.skip[r * p.N + c], value);
        *to = p.adds ? *to + value : value;
      }
    }
  }
}
template <class T>
void multiply(const Product<T>& p) {
  launch(multiply_tiles<T>, p.tiles(p.M) * p.tiles(p.N) * p.parts(), kThreads, 2 * sizeof(Factors<T>), p);
}

// One thread per column and part of the rows: sums of x, or of x y.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_rows(const int64_t rows, const int64_t columns, const T* x, const T* y, T* parts) {
  const int64_t count = (rows + kPartRows - 1) / kPartRows;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < count * columns; at += int64_t(gridDim.x) * kThreads) {
    const int64_t first = at / columns * kPartRows, column = at % columns;
    double sum = 0;
    for (int64_t i = first; i < min(rows, first + kPartRows); ++i)
      sum += double(x[i * columns + column]) * (y ? double(y[i * columns + column]) : 1.0);
    parts[at] = T(sum);
  }
}
// One thread per element of `out` (M, N): sums `parts` (count, M, N) in order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    add_parts(const int64_t count, const int64_t M, const int64_t N, const T* parts, const Matrix<T> out, const T factor, const bool adds) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < M * N; at += int64_t(gridDim.x) * kThreads) {
    double sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += double(parts[part * M * N + at]);
    T* const to = out(at / N, at % N);
    const T value = factor * T(sum) * out.factor(at / N, at % N);
    *to = adds ? *to + value : value;
  }
}
int64_t blocks_for(int64_t n) { return (n + kThreads - 1) / kThreads; }

// out = factor a^T b, sums over many rows.
template <class T>
void multiply_over_rows(int64_t rows, int64_t M, int64_t N, const Matrix<T>& a, const Matrix<T>& b, const Matrix<T>& out, T factor,
                        bool adds) {
  const int64_t count = (rows + kPartRows - 1) / kPartRows;
  const Workspace<T> parts(count * M * N);
  if (count) multiply(Product<T>{M, N, rows, kPartRows, a, b, real_matrix<T>(parts, N, 1), T(1), nullptr, nullptr, false});
  launch(add_parts<T>, blocks_for(M * N), kThreads, 0, count, M, N, parts, out, factor, adds);
}
// out (N,) = sum of the rows of x, or of x y.
template <class T>
void sum_rows(int64_t rows, int64_t N, const T* x, const T* y, T* out, bool adds) {
  const int64_t count = (rows + kPartRows - 1) / kPartRows;
  const Workspace<T> parts(count * N);
  launch(add_rows<T>, blocks_for(count * N), kThreads, 0, rows, N, x, y, parts);
  launch(add_parts<T>, blocks_for(N), kThreads, 0, count, int64_t(1), N, parts, real_matrix<T>(out, N, 1), T(1), adds);
}

// ---------------------------------------------------------------- the layer

// One direction: its states (B, L, P), and its scans.
template <class T>
struct Direction {
  using C = cplx<T>;
  const Apply<T>& p;
  bool reverse;
  int64_t rows() const { return p.B * p.L; }
  const C* c() const { return p.c + (reverse ? p.P : 0); }
  int64_t columns() const { return p.bidirectional ? 2 * p.P : p.P; }  // columns of c

  // Strides of a scan's operands with shape (B, L, P), (B, P) or (P,).
  template <int operands>
  Rows<operands> scans(const int (&in_time)[operands], const int (&of_item)[operands]) const {
    Rows<operands> r;
    r.rank = 1, r.shape[0] = r.rows = p.B, r.length = p.L, r.inner = p.P;
    for (int o = 0; o < operands; ++o) {
      r.across[o] = 1, r.along[o] = in_time[o] ? p.P : 0;
      r.outer[o][0] = in_time[o] ? p.L * p.P : of_item[o] ? p.P : 0;
    }
    return r;
  }
  // (1): computes x from the rows of u, via v.
  void states(C* v, C* x) const {
    multiply(Product<T>{rows(), 2 * p.P, p.H, 0, real_matrix(p.u, p.H, 1), parts_in_columns(p.b, 1, p.H, T(1)),
                        parts_in_columns<T>(v, p.P, 1, 1), T(1), nullptr, nullptr, false});
    scan::linear(scan::Linear<C>{p.lambda, v, p.initial, x, scans<4>({0, 1, 0, 1}, {0, 0, 1, 0}), reverse, 0});
  }
};

// Calls f(item, state, index) for every state.
template <class T, class F>
__device__ __forceinline__ void each_state(const Apply<T>& p, F f) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < p.B * p.P; at += int64_t(gridDim.x) * kThreads)
    f(at / p.P, at % p.P, at);
}
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_last(const Apply<T> p, const cplx<T>* x) {
  each_state(p, [&](int64_t item, int64_t n, int64_t at) {
    p.last[at] = p.L ? x[((item + 1) * p.L - 1) * p.P + n] : p.initial ? p.initial[at] : cplx<T>{};
  });
}
// (3): adds the gradient of the last state to r of the last step. If there are no steps, it is the gradient of the initial state.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_last(const ApplyAdjoint<T> q, cplx<T>* r) {
  each_state(q, [&](int64_t item, int64_t n, int64_t at) {
    const cplx<T> g = q.grad_last ? q.grad_last[at] : cplx<T>{};
    if (q.L == 0) {
      if (q.dinitial) q.dinitial[at] = g;
      return;
    }
    cplx<T>& to = r[((item + 1) * q.L - 1) * q.P + n];
    to = to + g;
  });
}

// Reads u twice; writes y once per direction. Stores the states twice.
template <class T>
void apply(const Apply<T>& p) {
  const int64_t rows = p.B * p.L, P = p.P, H = p.H;
  const Workspace<cplx<T>> v(rows * P), x(rows * P);
  for (int d = 0; d < (p.bidirectional ? 2 : 1); ++d) {
    const Direction<T> way{p, d == 1};
    way.states(v, x);
    multiply(Product<T>{rows, H, 2 * P, 0, parts_in_columns<T>(x, P, 1, 1), parts_in_rows(way.c(), 1, way.columns(), T(-1)),
                        real_matrix(p.y, H, 1), p.multiplicity(), d ? nullptr : p.D, p.u, d == 1});
  }
  if (p.last) launch(put_last<T>, blocks_for(p.B * P), kThreads, 0, p, x);
}

template <class T>
void apply_adjoint(const ApplyAdjoint<T>& q) {
  using C = cplx<T>;
  using Scan = scan::LinearAdjoint<C>;
  const Apply<T>& p = q;
  const int64_t rows = p.B * p.L, P = p.P, H = p.H;
  const Workspace<C> v(rows * P), x(rows * P), r(rows * P);
  for (int d = 0; d < (p.bidirectional ? 2 : 1); ++d) {
    const Direction<T> way{p, d == 1};
    const bool adds = d == 1;
    way.states(v, x);
    multiply_over_rows<T>(rows, 2 * P, H, parts_in_rows<T>(x, 1, P, 1), real_matrix(q.grad, H, 1),
                          parts_in_rows(q.dc + (d ? P : 0), 1, way.columns(), T(-1)), p.multiplicity(), false);
    multiply(Product<T>{rows, 2 * P, H, 0, real_matrix(q.grad, H, 1), parts_in_columns(way.c(), way.columns(), 1, T(-1)),
                        parts_in_columns<T>(r, P, 1, 1), p.multiplicity(), nullptr, nullptr, false});
    const auto add_last_state = [&] {
      if (q.grad_last || q.dinitial) launch(add_last<T>, blocks_for(p.B * P), kThreads, 0, q, r);
    };
    if (p.L) add_last_state();
    C *const mu = v, *const dz = x;  // in place of v and x
    scan::backward(Scan{p.lambda, nullptr, p.initial, r, dz, mu, q.dinitial,
                        way.template scans<7>({0, 1, 0, 1, 1, 1, 0}, {0, 0, 1, 0, 0, 0, 1}), way.reverse, 0});
    if (!p.L) add_last_state();
    sum_rows<T>(rows, 2 * P, &dz->re, nullptr, &q.dlambda->re, adds);
    multiply_over_rows<T>(rows, 2 * P, H, parts_in_rows<T>(mu, 1, P, 1), real_matrix(p.u, H, 1), parts_in_rows(q.db, H, 1, T(1)), T(1),
                          adds);
    multiply(Product<T>{rows, H, 2 * P, 0, parts_in_columns<T>(mu, P, 1, 1), parts_in_rows(p.b, H, 1, T(1)), real_matrix(q.du, H, 1), T(1),
                        d ? nullptr : p.D, q.grad, adds});
  }
  if (q.dD) sum_rows<T>(rows, H, p.u, q.grad, q.dD, false);
}

template <class T>
constexpr Kernels<T> kKernels = {apply<T>, apply_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "s5_apply s5_apply_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
