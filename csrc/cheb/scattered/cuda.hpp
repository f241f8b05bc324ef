// Values of Chebyshev-Tucker tensors at scattered points on a GPU: README (1)-(4), one or two points per thread. A coordinate that raises
// an error on the CPU makes every result that depends on it NaN.
#pragma once
#include "cheb/scattered/args.hpp"
#include "cheb/scattered/formula.hpp"
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

constexpr int kThreads = 128;  // per thread block
constexpr int kQuad = 4;       // rows of the core, or columns of a table, that are read together
// Estimated, not measured; constant, so that results are bitwise the same on every GPU.
constexpr int64_t kBlocksWanted = kEmulated ? 2 : kBusyBlocks;
constexpr int64_t kSharedBytes = (kEmulated ? 24 : 96) << 10;  // per thread block; every GPU from sm_80 on has at least 99 KiB

// The layout of a tensor: the core as `lead` matrices [rows / 4][last][4], followed by the tables of the axes, [n][columns]. The rows of a
// matrix belong to axis d - 2; for d = 1 there is one row, whose function is 1. Ranks are padded with zeros.
struct Layout {
  int d, leading;               // axes; those before the last two
  int64_t lead, b, rows, last;  // number of leading indices; rows, padded rows and padded columns of a matrix
  int64_t total, size;          // functions per point; elements in the layout
  int64_t row_at, last_at;      // start of the functions of a matrix's rows and columns
  int64_t columns[kMaxAxes], column_at[kMaxAxes], table_at[kMaxAxes];
  Interval interval[kMaxAxes];
};

// `min_columns`: the minimum number of columns of the last two axes.
template <class T>
Layout layout_of(const TuckerEval<T>& p, int64_t min_columns = 0) {
  Layout l{};
  l.d = p.d, l.leading = max(p.d - 2, 0);
  l.lead = 1;
  for (int k = 0; k < p.d; ++k) {
    const bool is_lead = k < l.leading;
    if (is_lead) l.lead *= p.r[k];
    l.columns[k] = round_up(is_lead ? p.r[k] : max(p.r[k], min_columns), kQuad), l.column_at[k] = l.total;
    l.total += l.columns[k];
    l.interval[k] = interval(p.lo[k], p.hi[k], sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, p.extrapolate);
  }
  l.last = l.columns[p.d - 1], l.last_at = l.column_at[p.d - 1];
  l.b = p.d > 1 ? p.r[p.d - 2] : 1, l.rows = round_up(l.b, kQuad);
  l.row_at = p.d > 1 ? l.column_at[p.d - 2] : l.total;
  if (p.d == 1) l.total += kQuad;
  l.size = l.lead * l.rows * l.last;
  for (int k = 0; k < p.d; ++k) {
    l.table_at[k] = l.size;
    l.size += p.n[k] * l.columns[k];
  }
  if (l.size >= kTooMany) throw DeviceError("2^31 or more elements of core and factors, padding included, are too many for a GPU kernel");
  return l;
}

// One thread per element of the layout.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) lay_out(const TuckerEval<T> p, const Layout l, T* to) {
  const int64_t core = l.lead * l.rows * l.last, c_end = p.r[p.d - 1];
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < l.size; at += int64_t(gridDim.x) * kThreads) {
    T x(0);
    if (at < core) {
      const int64_t quad = quotient(at, kQuad), of_row = quotient(quad, l.last), c = remainder(quad, l.last), rows = l.rows / kQuad;
      const int64_t b = remainder(of_row, rows) * kQuad + remainder(at, kQuad), a = quotient(of_row, rows);
      if (b < l.b && c < c_end) x = p.core[(a * l.b + b) * c_end + c];
    } else {
      int k = 0;
      while (k + 1 < p.d && at >= l.table_at[k + 1]) ++k;
      const int64_t row = quotient(at - l.table_at[k], l.columns[k]), c = remainder(at - l.table_at[k], l.columns[k]);
      if (c < p.r[k]) x = p.factors[k][row * p.r[k] + c];
    }
    to[at] = x;
  }
}
template <class T>
void lay_out_all(const TuckerEval<T>& p, const Layout& l, T* to) {
  launch(lay_out<T>, (l.size + kThreads - 1) / kThreads, kThreads, 0, p, l, to);
}

// A coordinate on [-1, 1] for (3): u = 2(|t| - 1) and the sign of t; u is NaN where the CPU raises an error.
template <class T>
struct ReferencePoint {
  T u, sign;
};
template <class T>
__device__ __forceinline__ ReferencePoint<T> reference_point(const TuckerEval<T>& p, const Layout& l, int64_t point, int k) {
  const Interval& i = l.interval[k];
  double t = to_reference(double(p.X[point * p.d + k]), i);
  if (!(t <= i.far && t >= -i.far)) t = __builtin_nan("");
  t = t > i.end ? i.end : t < -i.end ? -i.end : t;
  const double sign = t < 0 ? -1 : 1;
  return {T(2 * (t * sign - 1)), T(sign)};
}

// (2), (3), (9): computes the sums over the coefficients of `count` functions or derivatives at a thread's points. Reads the table once.
template <int derivative, class T, int points, int count>
__device__ __forceinline__ void add_up(const T* table, int64_t n, int64_t columns, const ReferencePoint<T> (&at)[points],
                                       T (&sums)[points][count]) {
  using Of = PolynomialOf<T, derivative>;
  Of polynomial[points];
  T parity[points];  // T_k(-t) = (-1)^k T_k(t), also for U_k; the opposite sign for U_k'
  QF_UNROLL(4)
  for (int j = 0; j < points; ++j) {
    polynomial[j] = Of::first(at[j].u), parity[j] = derivative == 2 ? at[j].sign : T(1);
    QF_UNROLL(32)
    for (int c = 0; c < count; ++c) sums[j][c] = 0;
  }
  QF_ROLLED
  for (int64_t k = derivative > 0; k < n; ++k) {
    T weight[points];
    QF_UNROLL(4)
    for (int j = 0; j < points; ++j) {
      weight[j] = polynomial[j].value * parity[j];
      if (derivative) weight[j] *= T(k);
      polynomial[j].advance();
      parity[j] *= at[j].sign;
    }
    QF_UNROLL(8)
    for (int c = 0; c < count; c += kQuad) {
      const Quad<T> q = quad(table + k * columns + c);
      QF_UNROLL(4)
      for (int i = 0; i < kQuad; ++i) {
        QF_UNROLL(4)
        for (int j = 0; j < points; ++j) sums[j][c + i] = multiply_add(weight[j], q.x[i], sums[j][c + i]);
      }
    }
  }
}

// Calls f(c, sums) for the functions of an axis, eight at a time, then four.
template <int derivative, class T, int points, class F>
__device__ __forceinline__ void for_functions(const T* table, int64_t n, int64_t columns, const ReferencePoint<T> (&at)[points], F f) {
  int64_t c = 0;
  for (; c + 2 * kQuad <= columns; c += 2 * kQuad) {
    T sums[points][2 * kQuad];
    add_up<derivative>(table + c, n, columns, at, sums);
    f(c, sums);
  }
  if (c < columns) {
    T sums[points][kQuad];
    add_up<derivative>(table + c, n, columns, at, sums);
    f(c, sums);
  }
}

// Stores all functions of an axis, or their derivatives, in columns `stride` apart; the points of a thread are kThreads apart.
template <int derivative, class T, int points>
__device__ __forceinline__ void put_functions(const T* table, int64_t n, int64_t columns, const ReferencePoint<T> (&at)[points], T* to,
                                              int64_t stride) {
  for_functions<derivative>(table, n, columns, at, [&](int64_t c, auto& sums) {
    constexpr int count = int(sizeof(sums[0]) / sizeof(T));
    QF_UNROLL(8)
    for (int i = 0; i < count; ++i) {
      QF_UNROLL(4)
      for (int j = 0; j < points; ++j) to[(c + i) * stride + j * kThreads] = sums[j][i];
    }
  });
}

// For d = 1, writes the functions of the rows: a row of ones, or of zeros for derivatives, padded with zeros.
template <class T, int points>
__device__ __forceinline__ void put_row_of_ones(const Layout& l, T one, T* functions, int64_t stride) {
  if (l.d > 1) return;
  for (int i = 0; i < kQuad; ++i)
    for (int j = 0; j < points; ++j) functions[(l.row_at + i) * stride + j * kThreads] = i == 0 ? one : T(0);
}

// `start` times the product of the leading axes' functions at index a, except that of axis `without`. Axes i and j are differentiated (-1
// means no axis); functions differentiated m times are at functions[m * to_derivative].
template <class T>
__device__ __forceinline__ T lead_product(const TuckerEval<T>& p, const Layout& l, int64_t a, const T* functions, int64_t stride,
                                          int without, T start, int64_t to_derivative = 0, int i = -1, int j = -1) {
  QF_ROLLED
  for (int k = l.leading - 1; k >= 0; --k) {
    const int64_t at = k ? remainder(a, p.r[k]) : a;
    if (k) a = quotient(a, p.r[k]);
    if (k != without) start *= functions[((k == i) + (k == j)) * to_derivative + (l.column_at[k] + at) * stride];
  }
  return start;
}

template <class T>
constexpr int kPoints = sizeof(T) == 4 ? 2 : 1;  // points per thread; each element of core and tables is read once for all of them

// The memory of a thread block, in shared memory if it fits (`in_shared`), otherwise in a workspace.
template <class T>
struct BlockMemory {
  int64_t numbers;
  bool in_shared;
  explicit BlockMemory(int64_t numbers) : numbers(numbers), in_shared(numbers * int64_t(sizeof(T)) <= kSharedBytes) {}
  std::size_t shared() const { return in_shared ? std::size_t(numbers) * sizeof(T) : 0; }
};

// Copies core and tables to shared memory.
template <class T>
__device__ __forceinline__ void copy_to_shared(const T* packed, int64_t size, T* to) {
  for (int64_t at = int64_t(threadIdx.x) * kQuad; at < size; at += kThreads * kQuad)
    *reinterpret_cast<Quad<T>*>(to + at) = quad(packed + at);
  __syncthreads();
}

// (4): computes the values at a thread's points, four rows of the core at a time. If `ranks` is not 0, the functions of the last two axes
// are in registers v and w. Reads each element of the core once.
template <int ranks, class T, int points>
__device__ __forceinline__ void contract(const TuckerEval<T>& p, const Layout& l, const T* core, const T* functions,
                                         const T (&v)[points][ranks ? ranks : 1], const T (&w)[points][ranks ? ranks : 1],
                                         T (&total)[points]) {
  constexpr int64_t stride = points * kThreads;
  const auto group = [&](const T* from, int64_t b, T(&partial)[points]) {
    T t[kQuad][points] = {};
    const auto add = [&](int64_t c, const T* x) {
      const Quad<T> q = quad(from + c * kQuad);
      QF_UNROLL(4)
      for (int i = 0; i < kQuad; ++i) {
        QF_UNROLL(4)
        for (int j = 0; j < points; ++j) t[i][j] = multiply_add(q.x[i], x[j], t[i][j]);
      }
    };
    T x[points];
    if constexpr (ranks > 0) {
      QF_UNROLL(16)
      for (int c = 0; c < ranks; ++c) {
        for (int j = 0; j < points; ++j) x[j] = w[j][c];
        add(c, x);
      }
    } else {
      for (int64_t c = 0; c < l.last; ++c) {
        for (int j = 0; j < points; ++j) x[j] = functions[(l.last_at + c) * stride + j * kThreads];
        add(c, x);
      }
    }
    QF_UNROLL(4)
    for (int i = 0; i < kQuad; ++i) {
      QF_UNROLL(4)
      for (int j = 0; j < points; ++j) {
        if constexpr (ranks > 0)
          partial[j] = multiply_add(t[i][j], v[j][b + i], partial[j]);
        else
          partial[j] = multiply_add(t[i][j], functions[(l.row_at + b + i) * stride + j * kThreads], partial[j]);
      }
    }
  };
  for (int j = 0; j < points; ++j) total[j] = 0;
  QF_ROLLED
  for (int64_t a = 0; a < l.lead; ++a, core += l.rows * l.last) {
    T partial[points] = {};
    if constexpr (ranks > 0) {
      QF_UNROLL(4)
      for (int b = 0; b < ranks; b += kQuad)
        if (b < l.rows) group(core + b * l.last, b, partial);
    } else {
      for (int64_t b = 0; b < l.rows; b += kQuad) group(core + b * l.last, b, partial);
    }
    QF_UNROLL(4)
    for (int j = 0; j < points; ++j) total[j] += lead_product(p, l, a, functions + j * kThreads, stride, -1, partial[j]);
  }
}

// Per point: reads d coordinates, writes one value. Reads core and tables once per kPoints points, from shared memory or the caches.
template <class T, int ranks, bool in_shared>
__global__ void __launch_bounds__(kThreads, 1)
    evaluate(const TuckerEval<T> p, const Layout l, const T* packed, T* workspace, int64_t each) {
  constexpr int points = kPoints<T>, in_registers = ranks ? 2 : 0;
  constexpr int64_t stride = points * kThreads;
  QF_SHARED(T, shared);
  if (in_shared) copy_to_shared(packed, l.size, shared);
  const T* const data = in_shared ? shared : packed;
  T* const functions = (in_shared ? shared + l.size : workspace + blockIdx.x * each) + threadIdx.x;
  QF_ROLLED
  for (int64_t first = blockIdx.x * stride; first < p.P; first += gridDim.x * stride) {
    T v[points][ranks ? ranks : 1] = {}, w[points][ranks ? ranks : 1] = {}, total[points], invalid[points] = {};
    for (int k = 0; k < p.d; ++k) {
      ReferencePoint<T> at[points];
      QF_UNROLL(4)
      for (int j = 0; j < points; ++j) {
        at[j] = reference_point(p, l, min(first + j * kThreads + threadIdx.x, p.P - 1), k);
        if (!(at[j].u == at[j].u)) invalid[j] = at[j].u;
      }
      const T* const table = data + l.table_at[k];
      if (k < p.d - in_registers)
        put_functions<0>(table, p.n[k], l.columns[k], at, functions + l.column_at[k] * stride, stride);
      else if constexpr (ranks > 0)
        k == p.d - 1 ? add_up<0>(table, p.n[k], l.columns[k], at, w) : add_up<0>(table, p.n[k], l.columns[k], at, v);
    }
    if constexpr (ranks > 0) {
      if (p.d == 1)
        for (int j = 0; j < points; ++j) v[j][0] = 1;
    } else {
      put_row_of_ones<T, points>(l, T(1), functions, stride);
    }
    contract<ranks>(p, l, data, functions, v, w, total);
    QF_UNROLL(4)
    for (int j = 0; j < points; ++j)
      if (const int64_t point = first + j * kThreads + threadIdx.x; point < p.P) p.f[point] = total[j] + invalid[j];
  }
}

template <int ranks, class T>
void evaluate_with(const TuckerEval<T>& p) {
  const Layout l = layout_of(p, ranks);
  constexpr int64_t stride = kPoints<T> * kThreads;
  const int64_t blocks = min((p.P + stride - 1) / stride, kBlocksWanted);
  const int64_t functions = (ranks && l.leading == 0 ? 0 : ranks ? l.column_at[l.leading] : l.total) * stride;
  const BlockMemory<T> memory(l.size + functions);
  const Workspace<T> packed(l.size), workspace(memory.in_shared ? 0 : functions * blocks);
  lay_out_all(p, l, static_cast<T*>(packed));
  launch(memory.in_shared ? evaluate<T, ranks, true> : evaluate<T, ranks, false>, blocks, kThreads, memory.shared(), p, l, packed,
         workspace, functions);
}

template <class T>
int64_t tucker_eval(const TuckerEval<T>& p) {
  const int64_t r = max(p.r[p.d - 1], p.d > 1 ? p.r[p.d - 2] : 1);
  r <= 8 ? evaluate_with<8>(p) : r <= 16 ? evaluate_with<16>(p) : evaluate_with<0>(p);
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
