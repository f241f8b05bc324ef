// Derivatives of Chebyshev-Tucker tensors at scattered points on a GPU, and gradients of values and derivatives: README (5)-(10).
#include "cheb/scattered/cuda.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// (9): computes the sums over the last two axes for one index of the leading ones, in the order of each_derivative. Reads the core once.
template <int order, class T>
__device__ __forceinline__ void contract_matrix(const Layout& l, const T* core, const T* functions, int64_t to_derivative,
                                                T (&sums)[order == 1 ? 3 : 6]) {
  for (int64_t b = 0; b < l.rows; b += kQuad) {
    T t[order + 1][kQuad] = {};
    QF_UNROLL(2)
    for (int64_t c = 0; c < l.last; ++c, core += kQuad) {
      const Quad<T> q = quad(core);
      QF_UNROLL(3)
      for (int m = 0; m <= order; ++m) {
        const T x = functions[m * to_derivative + (l.last_at + c) * kThreads];
        QF_UNROLL(4)
        for (int i = 0; i < kQuad; ++i) t[m][i] = multiply_add(q.x[i], x, t[m][i]);
      }
    }
    QF_UNROLL(4)
    for (int i = 0; i < kQuad; ++i) {
      T row[order + 1];
      QF_UNROLL(3)
      for (int m = 0; m <= order; ++m) row[m] = functions[m * to_derivative + (l.row_at + b + i) * kThreads];
      sums[0] = multiply_add(t[0][i], row[0], sums[0]);
      sums[1] = multiply_add(t[0][i], row[1], sums[1]);
      sums[2] = multiply_add(t[1][i], row[0], sums[2]);
      if constexpr (order == 2) {
        sums[3] = multiply_add(t[0][i], row[2], sums[3]);
        sums[4] = multiply_add(t[1][i], row[1], sums[4]);
        sums[5] = multiply_add(t[2][i], row[0], sums[5]);
      }
    }
  }
}

// (9): computes f and its derivatives on [-1, 1]^d at a thread's point; `results` are kThreads apart.
template <int order, class T>
__device__ __forceinline__ void contract_derivatives(const TuckerEval<T>& p, const Layout& l, const T* core, const T* functions,
                                                     int64_t to_derivative, T* results, int count) {
  QF_ROLLED
  for (int i = 0; i < count; ++i) results[i * kThreads] = 0;
  QF_ROLLED
  for (int64_t a = 0; a < l.lead; ++a, core += l.rows * l.last) {
    T sums[order == 1 ? 3 : 6] = {};
    contract_matrix<order>(l, core, functions, to_derivative, sums);
    const auto add = [&](int result, int i, int j, T sum) {
      results[result * kThreads] += lead_product(p, l, a, functions, kThreads, -1, sum, to_derivative, i, j);
    };
    each_derivative<order>(p.d, l.leading, [&](int k) { return sums[k]; }, add);
  }
}

// Per point: reads d coordinates, writes 1 + d (+ d^2) values.
template <class T, int order, bool in_shared>
__global__ void __launch_bounds__(kThreads, 1)
    differentiate_all(const TuckerDerivatives<T> q, const Layout l, const T* packed, T* workspace, int64_t each, int count) {
  const TuckerEval<T>& p = q.value;
  QF_SHARED(T, shared);
  if (in_shared) copy_to_shared(packed, l.size, shared);
  const T* const data = in_shared ? shared : packed;
  T* const functions = (in_shared ? shared + l.size : workspace + blockIdx.x * each) + threadIdx.x;
  const int64_t to_derivative = l.total * kThreads;
  T* const results = functions + (order + 1) * to_derivative;
  QF_ROLLED
  for (int64_t first = int64_t(blockIdx.x) * kThreads; first < p.P; first += int64_t(gridDim.x) * kThreads) {
    const int64_t point = first + threadIdx.x;
    if (point >= p.P) break;
    T invalid(0);
    for (int k = 0; k < p.d; ++k) {
      const ReferencePoint<T> at[1] = {reference_point(p, l, point, k)};
      if (!(at[0].u == at[0].u)) invalid = at[0].u;
      const T* const table = data + l.table_at[k];
      T* const to = functions + l.column_at[k] * kThreads;
      put_functions<0>(table, p.n[k], l.columns[k], at, to, kThreads);
      put_functions<1>(table, p.n[k], l.columns[k], at, to + to_derivative, kThreads);
      if constexpr (order == 2) put_functions<2>(table, p.n[k], l.columns[k], at, to + 2 * to_derivative, kThreads);
    }
    for (int m = 0; m <= order; ++m) put_row_of_ones<T, 1>(l, T(m == 0), functions + m * to_derivative, kThreads);
    contract_derivatives<order>(p, l, data, functions, to_derivative, results, count);
    p.f[point] = results[0] + invalid;
    for (int i = 0; i < p.d; ++i) {
      const T slope = T(2 / (p.hi[i] - p.lo[i]));
      q.gradient[point * p.d + i] = results[gradient_at(i) * kThreads] * slope + invalid;
      if constexpr (order == 2)
        for (int j = i; j < p.d; ++j) {
          const T x = results[hessian_at(p.d, i, j) * kThreads] * slope * T(2 / (p.hi[j] - p.lo[j])) + invalid;
          q.hessian[(point * p.d + i) * p.d + j] = q.hessian[(point * p.d + j) * p.d + i] = x;
        }
    }
  }
}

template <int order, class T>
void derivatives(const TuckerDerivatives<T>& q) {
  const TuckerEval<T>& p = q.value;
  const Layout l = layout_of(p);
  const int count = results_of(p.d, order);
  const int64_t blocks = min((p.P + kThreads - 1) / kThreads, kBlocksWanted), functions = ((order + 1) * l.total + count) * kThreads;
  const BlockMemory<T> memory(l.size + functions);
  const Workspace<T> packed(l.size), workspace(memory.in_shared ? 0 : functions * blocks);
  lay_out_all(p, l, static_cast<T*>(packed));
  launch(memory.in_shared ? differentiate_all<T, order, true> : differentiate_all<T, order, false>, blocks, kThreads, memory.shared(), q, l,
         packed, workspace, functions, count);
}

template <class T>
int64_t tucker_derivatives(const TuckerDerivatives<T>& q) {
  if (!q.gradient) return tucker_eval(q.value);
  q.hessian ? derivatives<2>(q) : derivatives<1>(q);
  return -1;
}

constexpr int kPitch = kThreads + 1;     // pitch of rows of points, which puts adjacent rows into different banks
constexpr int kPanel = 32;               // number of such rows at a time
constexpr int kSplits = 4;               // threads that share the points of a patch of 4 x 4 sums
constexpr int64_t kSumBytes = 64 << 20;  // bytes of the sums of all chunks together

// Tiles of kThreads points are assigned to chunks by their index alone. Every chunk has its own sums for the gradients of the core,
// [(a, b)][c], and of the tables, [k][column]. Rows are rounded up to quads.
struct Chunks {
  int64_t tiles, count, size, core_rows, factor_at[kMaxAxes];
};
template <class T>
Chunks chunks_of(const TuckerEval<T>& p, const Layout& l) {
  Chunks c{};
  c.tiles = (p.P + kThreads - 1) / kThreads, c.core_rows = l.lead * l.b;
  c.size = round_up(c.core_rows, kQuad) * l.last;
  for (int k = 0; k < p.d; ++k) c.factor_at[k] = c.size, c.size += round_up(p.n[k], kQuad) * l.columns[k];
  c.count = min(min(c.tiles, kBlocksWanted), max(int64_t(1), kSumBytes / int64_t(sizeof(T)) / max(c.size, int64_t(1))));
  return c;
}

// (6): computes the gradients of the factor functions at a thread's point. Each element of the core is used for the sum over c and for the
// gradient of the last axis's functions.
template <class T>
__device__ __forceinline__ void contract_adjoint(const TuckerEval<T>& p, const Layout& l, const T* core, const T* functions, T* bar,
                                                 T grad) {
  for (int64_t c = 0; c < l.total; ++c) bar[c * kPitch] = 0;
  for (int64_t a = 0; a < l.lead; ++a) {
    const T weight = lead_product(p, l, a, functions, kPitch, -1, grad);
    T partial(0);
    for (int64_t b = 0; b < l.rows; b += kQuad) {
      T t[kQuad] = {}, row[kQuad];
      QF_UNROLL(4)
      for (int i = 0; i < kQuad; ++i) row[i] = functions[(l.row_at + b + i) * kPitch] * weight;
      QF_UNROLL(2)
      for (int64_t c = l.last_at; c < l.last_at + l.last; ++c, core += kQuad) {
        const Quad<T> q = quad(core);
        const T x = functions[c * kPitch];
        T x_bar = bar[c * kPitch];
        QF_UNROLL(4)
        for (int i = 0; i < kQuad; ++i) {
          t[i] = multiply_add(x, q.x[i], t[i]);
          x_bar = multiply_add(row[i], q.x[i], x_bar);
        }
        bar[c * kPitch] = x_bar;
      }
      QF_UNROLL(4)
      for (int i = 0; i < kQuad; ++i) {
        partial = multiply_add(t[i], functions[(l.row_at + b + i) * kPitch], partial);
        bar[(l.row_at + b + i) * kPitch] += t[i] * weight;
      }
    }
    for (int64_t k = l.leading - 1, left = a; k >= 0; --k) {
      const int64_t at = k ? remainder(left, p.r[k]) : left;
      if (k) left = quotient(left, p.r[k]);
      bar[(l.column_at[k] + at) * kPitch] += lead_product(p, l, a, functions, kPitch, int(k), partial * grad);
    }
  }
}

// Adds to sums[row][column] the sum of left(row) right[column][point] over the thread block's points, in a fixed order; if `begins`, sets
// instead of adding. Successive calls to `left` return the rows of this thread's point in order.
template <class T, class F>
__device__ __forceinline__ void add_outer(T* panel, int64_t rows, F left, const T* right, int64_t columns, T* sums, bool begins) {
  constexpr int groups = kPanel / kQuad;
  const int split = threadIdx.x % kSplits, group = threadIdx.x / kSplits % groups, warp = threadIdx.x / kWarp;
  static_assert(groups * kSplits == kWarp, "a warp has all rows of a panel");
  for (int64_t first = 0; first < rows; first += kPanel) {
    for (int m = 0; m < kPanel; ++m) panel[m * kPitch + threadIdx.x] = first + m < rows ? left(first + m) : T(0);
    __syncthreads();
    for (int64_t c = warp * kQuad; c < columns; c += kThreads / kWarp * kQuad) {
      T s[kQuad][kQuad] = {};
      QF_UNROLL(2)
      for (int i = split; i < kThreads; i += kSplits) {
        T x[kQuad], y[kQuad];
        QF_UNROLL(4)
        for (int j = 0; j < kQuad; ++j) x[j] = panel[(group * kQuad + j) * kPitch + i], y[j] = right[(c + j) * kPitch + i];
        QF_UNROLL(4)
        for (int j = 0; j < kQuad; ++j) {
          QF_UNROLL(4)
          for (int k = 0; k < kQuad; ++k) s[j][k] = multiply_add(x[j], y[k], s[j][k]);
        }
      }
      Quad<T> mine{};
      QF_UNROLL(4)
      for (int j = 0; j < kQuad; ++j) {
        QF_UNROLL(4)
        for (int k = 0; k < kQuad; ++k) {
          T all = s[j][k];
          for (int by = 1; by < kSplits; by *= 2) all += shuffle_xor(all, by);
          if (j == split) mine.x[k] = all;
        }
      }
      const int64_t row = first + group * kQuad + split;
      if (row < rows) {
        T* const to = sums + row * columns + c;
        for (int k = 0; k < kQuad; ++k) to[k] = begins ? mine.x[k] : to[k] + mine.x[k];
      }
    }
    __syncthreads();
  }
}

// One thread block per chunk. Reads X and grad, writes dX (adds to it if `more`), and writes the chunk's sums once per tile.
template <class T, bool in_shared>
__global__ void __launch_bounds__(kThreads, 1) adjoint_chunks(const TuckerEvalAdjoint<T> q, const Layout l, const Chunks chunks,
                                                              const T* packed, T* workspace, T* all_sums, bool more) {
  const TuckerEval<T>& p = q.forward;
  QF_SHARED(T, panel);
  T* const functions = in_shared ? panel + kPanel * kPitch : workspace + blockIdx.x * 2 * l.total * kPitch;
  T* const bars = functions + l.total * kPitch;
  T *const mine = functions + threadIdx.x, *const bar = bars + threadIdx.x;
  for (int64_t chunk = blockIdx.x; chunk < chunks.count; chunk += gridDim.x)
    for (int64_t tile = chunk; tile < chunks.tiles; tile += chunks.count) {
      T* const sums = all_sums + chunk * chunks.size;
      const bool begins = tile == chunk, valid = tile * kThreads + threadIdx.x < p.P;
      const int64_t point = min(tile * kThreads + threadIdx.x, p.P - 1);
      T grad = valid ? q.grad[point] : T(0);
      for (int k = 0; k < p.d; ++k) {
        const ReferencePoint<T> at[1] = {reference_point(p, l, point, k)};
        if (!(at[0].u == at[0].u)) grad = at[0].u;
        put_functions<0>(packed + l.table_at[k], p.n[k], l.columns[k], at, mine + l.column_at[k] * kPitch, kPitch);
      }
      put_row_of_ones<T, 1>(l, T(1), mine, kPitch);
      contract_adjoint(p, l, packed, mine, bar, grad);
      for (int k = 0; k < p.d; ++k) {
        const ReferencePoint<T> at[1] = {reference_point(p, l, point, k)};
        T slope(0);  // (8)
        for_functions<1>(packed + l.table_at[k], p.n[k], l.columns[k], at, [&](int64_t c, auto& slopes) {
          QF_UNROLL(8)
          for (int i = 0; i < int(sizeof(slopes[0]) / sizeof(T)); ++i)
            slope = multiply_add(slopes[0][i], bar[(l.column_at[k] + c + i) * kPitch], slope);
        });
        slope = at[0].u == at[0].u ? slope * T(2 / (p.hi[k] - p.lo[k])) : at[0].u;
        if (T* const to = q.dX + point * p.d + k; valid) *to = more ? *to + slope : slope;
        Polynomial<T> polynomial = Polynomial<T>::first(at[0].u);  // (7)
        T parity(1);
        const auto next = [&](int64_t) {
          const T value = polynomial.value * parity;
          polynomial.advance();
          parity *= at[0].sign;
          return value;
        };
        add_outer(panel, p.n[k], next, bars + l.column_at[k] * kPitch, l.columns[k], sums + chunks.factor_at[k], begins);
      }
      int64_t a = 0, b = 0;
      T weight(0);
      const auto row = [&](int64_t) {
        if (b == 0) weight = lead_product(p, l, a, mine, kPitch, -1, grad);
        const T x = weight * mine[(l.row_at + b) * kPitch];
        if (++b == l.b) b = 0, ++a;
        return x;
      };
      add_outer(panel, chunks.core_rows, row, functions + l.last_at * kPitch, l.last, sums, begins);
    }
}

// One thread per element of the gradient of the core or of a factor: adds the chunks in order. If `more`, adds the sum to the gradient,
// except for axes in `fresh`.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    add_chunks(const TuckerEvalAdjoint<T> q, const Layout l, const Chunks chunks, const T* sums, bool more, unsigned fresh) {
  const TuckerEval<T>& p = q.forward;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x; at < chunks.size; at += int64_t(gridDim.x) * kThreads) {
    int axis = -1;
    while (axis + 1 < p.d && at >= chunks.factor_at[axis + 1]) ++axis;
    const int64_t columns = axis < 0 ? l.last : l.columns[axis], from = axis < 0 ? 0 : chunks.factor_at[axis];
    const int64_t rows = axis < 0 ? chunks.core_rows : p.n[axis], r = p.r[axis < 0 ? p.d - 1 : axis];
    const int64_t row = quotient(at - from, columns), c = remainder(at - from, columns);
    if (row >= rows || c >= r) continue;
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) sum += double(sums[chunk * chunks.size + at]);
    T* const to = (axis < 0 ? q.dcore : q.dfactors[axis]) + row * r + c;
    *to = T(more && !(axis >= 0 && fresh >> axis & 1) ? double(*to) + sum : sum);
  }
}

template <class T>
void add_adjoint(const TuckerEvalAdjoint<T>& q, bool more, unsigned fresh) {
  const TuckerEval<T>& p = q.forward;
  const Layout l = layout_of(p);
  const Chunks chunks = chunks_of(p, l);
  const BlockMemory<T> memory((kPanel + 2 * l.total) * kPitch);
  const int64_t blocks = p.P ? chunks.count : 0;
  const Workspace<T> packed(l.size), workspace(memory.in_shared ? 0 : blocks * 2 * l.total * kPitch), sums(blocks * chunks.size);
  lay_out_all(p, l, static_cast<T*>(packed));
  launch(memory.in_shared ? adjoint_chunks<T, true> : adjoint_chunks<T, false>, blocks, kThreads,
         memory.in_shared ? memory.shared() : kPanel * kPitch * sizeof(T), q, l, chunks, packed, workspace, sums, more);
  launch(add_chunks<T>, (chunks.size + kThreads - 1) / kThreads, kThreads, 0, q, l, chunks, sums, more, fresh);
}

template <class T>
int64_t tucker_eval_adjoint(const TuckerEvalAdjoint<T>& q) {
  add_adjoint(q, false, 0);
  return -1;
}

// ---------------------------------------------------------------- gradients of derivatives

// (10): computes the weights of the points for the derivative along axis i, and along j unless it is -1, on [-1, 1]^d.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) weigh(const TuckerDerivativesAdjoint<T> q, int i, int j, T* weights) {
  const TuckerEval<T>& p = q.value.forward;
  const int d = p.d;
  const T factor = T(2 / (p.hi[i] - p.lo[i])) * (j < 0 ? T(1) : T(2 / (p.hi[j] - p.lo[j])));
  QF_ROLLED
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < p.P; m += int64_t(gridDim.x) * kThreads) {
    T x = j < 0 ? q.grad_gradient[m * d + i] : q.grad_hessian[(m * d + i) * d + j];
    if (j >= 0 && i != j) x += q.grad_hessian[(m * d + j) * d + i];
    weights[m] = x * factor;
  }
}

// One thread per column of a factor (n, r): applies (5) `times` times.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) differentiate_columns(const T* U, int64_t n, int64_t r, int times, T* between, T* to) {
  QF_ROLLED
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < r; c += int64_t(gridDim.x) * kThreads) {
    differentiate(U + c, n, r, (times == 2 ? between : to) + c, r);
    if (times == 2) differentiate(between + c, n, r, to + c, r);
  }
}
// Adds the transpose of (5), applied `times` times, to the gradient of the factor.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) add_columns(const T* d, int64_t n, int64_t r, int times, T* between, T* to) {
  QF_ROLLED
  for (int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x; c < r; c += int64_t(gridDim.x) * kThreads) {
    if (times == 2) {
      for (int64_t k = 0; k < n; ++k) between[k * r + c] = 0;
      add_differentiate_adjoint(d + c, n, r, between + c);
    }
    add_differentiate_adjoint((times == 2 ? between : d) + c, n, r, to + c);
  }
}

// (10): adds the term of the derivative along axis i, and along j unless it is -1. `workspace`: P elements, plus three times the elements
// of two factors.
template <class T>
void add_term(const TuckerDerivativesAdjoint<T>& q, int i, int j, T* workspace) {
  TuckerEvalAdjoint<T> term = q.value;
  const TuckerEval<T>& p = q.value.forward;
  launch(weigh<T>, (p.P + kThreads - 1) / kThreads, kThreads, 0, q, i, j, workspace);
  term.grad = workspace;
  const auto each = [&](auto f) {
    T* at = workspace + p.P;
    for (int k = 0; k < p.d; ++k)
      if (k == i || k == j) {
        const int64_t size = p.n[k] * p.r[k];
        f(k, (p.r[k] + kThreads - 1) / kThreads, (k == i) + (k == j), at, at + size, at + 2 * size);
        at += 3 * size;
      }
  };
  unsigned fresh = 0;
  each([&](int k, int64_t blocks, int times, T* U, T* dU, T* between) {
    launch(differentiate_columns<T>, blocks, kThreads, 0, p.factors[k], p.n[k], p.r[k], times, between, U);
    term.forward.factors[k] = U, term.dfactors[k] = dU, fresh |= 1u << k;
  });
  add_adjoint(term, true, fresh);
  each([&](int k, int64_t blocks, int times, T*, T* dU, T* between) {
    launch(add_columns<T>, blocks, kThreads, 0, dU, p.n[k], p.r[k], times, between, q.value.dfactors[k]);
  });
}

// Runs the adjoint of values once per derivative, even if its weights are zero.
template <class T>
int64_t tucker_derivatives_adjoint(const TuckerDerivativesAdjoint<T>& q) {
  add_adjoint(q.value, false, 0);
  if (!q.grad_gradient && !q.grad_hessian) return -1;
  const TuckerEval<T>& p = q.value.forward;
  int64_t largest = 0;
  for (int k = 0; k < p.d; ++k) largest = max(largest, p.n[k] * p.r[k]);
  const Workspace<T> workspace(p.P + 6 * largest);
  for (int i = 0; i < p.d; ++i) {
    if (q.grad_gradient) add_term(q, i, -1, static_cast<T*>(workspace));
    for (int j = i; q.grad_hessian && j < p.d; ++j) add_term(q, i, j, static_cast<T*>(workspace));
  }
  return -1;
}

QF_KERNELS(tucker_eval<T>, tucker_eval_adjoint<T>, tucker_derivatives<T>, tucker_derivatives_adjoint<T>, nullptr, nullptr)
extern const char* const ops;
const char* const ops = "tucker_eval tucker_eval_vjp tucker_derivatives tucker_derivatives_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
