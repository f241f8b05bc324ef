// Values, gradients and Hessians of a Chebyshev-Tucker tensor at scattered points, one block at a time.
#pragma once
#include "cheb/scattered/cells.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// The buffers of a block of points, [column][point]: the factor functions of all axes and their derivatives, and the results. `rows`: the
// functions of axis d - 2, the rows of the core's matrices.
template <class T, int order>
struct BlockWork {
  static constexpr int64_t points = kPoints<T>;
  T *functions[order + 1], *u, *sign, *results;
  const T* rows[order + 1];

  static int64_t ones(const Layout<T>& g) { return g.d == 1 ? g.rb_padded : 0; }
  static int64_t size(const Layout<T>& g) {
    return ((order + 1) * (g.total + ones(g)) + 2 * g.d + (order > 0 ? results_of(g.d, order) : 1)) * points;
  }
  BlockWork(const Layout<T>& g, T* at) {
    for (int k = 0; k <= order; ++k, at += (g.total + ones(g)) * points) functions[k] = at;
    u = at, sign = u + g.d * points, results = sign + g.d * points;
  }
  void set_rows(const Layout<T>& g) {
    for (int k = 0; k <= order; ++k) {
      T* const own = functions[k] + g.total * points;
      rows[k] = row_functions(g, functions[k], own, points);
      if (k > 0 && g.d == 1) set_zero(own, g.rb_padded * points);  // derivatives of ones
    }
  }
};

// README (4): computes four sums over the core's last axis at a time and folds them into the other axes, so nothing of size r^2 is stored.
// Reads the core once; the factor functions of kPoints points are in L1.
template <class T>
void contract(const Packed<T>& g, const int64_t* r, const T* functions, const T* rows, T* f) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, vectors = kVectors, stride = kPoints<T>;
  const T *last = functions + g.column_at[g.d - 1] * stride, *core = g.core;
  V total[vectors] = {};
  Odometer index;
  InterruptCheck check;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    check(matrix_ns(g, stride));
    V partial[vectors] = {};
    for (int64_t b = 0; b < g.rb_padded; b += kRows) {
      V t[kRows][vectors] = {};
      for (int64_t c = 0; c < g.rc; ++c, core += kRows)
        for (int v = 0; v < vectors; ++v) {
          const V x = load<V>(last + c * stride + v * W);
          for (int i = 0; i < kRows; ++i) t[i][v] += x * core[i];
        }
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) partial[v] += t[i][v] * load<V>(rows + (b + i) * stride + v * W);
    }
    for (int v = 0; v < vectors; ++v) total[v] += lead_product(g, index, functions + v * W, stride, -1, partial[v]);
  }
  for (int v = 0; v < vectors; ++v) store(f + v * W, total[v]);
}

// Vectors of points per step: the sums over the last axis, for a function and `order` derivatives of it, must fit in registers.
template <int order>
constexpr int kDerivativeVectors = kWideFile && order == 1 ? 2 : 1;

// `start` times the product of the leading axes' functions. Axes i and j are differentiated, twice if they are the same; -1 means no axis.
template <class T, class V>
QF_HD V lead_derivative(const Layout<T>& l, const Odometer& index, const T* const* functions, int64_t at, int i, int j, V start) {
  for (int k = 0; k < l.leading; ++k) start *= load<V>(functions[(k == i) + (k == j)] + (l.column_at[k] + index.at[k]) * kPoints<T> + at);
  return start;
}

// README (9): computes the sums over the last two axes for one index of the leading ones, in the order of each_derivative. Reads every
// element of the core once for the function and all its derivatives.
template <class T, int order, int vectors>
QF_HD const T* contract_matrix(const Packed<T>& g, const T* core, const BlockWork<T, order>& w, int64_t at,
                               Lanes<T> (&sums)[order == 1 ? 3 : 6][vectors]) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, stride = kPoints<T>;
  const int64_t last = g.column_at[g.d - 1] * stride + at;
  for (int64_t b = 0; b < g.rb_padded; b += kRows) {
    V t[order + 1][kRows][vectors] = {};
    for (int64_t c = 0; c < g.rc; ++c, core += kRows)
      for (int v = 0; v < vectors; ++v)
        for (int q = 0; q <= order; ++q) {
          const V x = load<V>(w.functions[q] + last + c * stride + v * W);
          for (int i = 0; i < kRows; ++i) t[q][i][v] += x * core[i];
        }
    for (int i = 0; i < kRows; ++i)
      for (int v = 0; v < vectors; ++v) {
        V row[order + 1];
        for (int q = 0; q <= order; ++q) row[q] = load<V>(w.rows[q] + (b + i) * stride + at + v * W);
        sums[0][v] += t[0][i][v] * row[0];
        sums[1][v] += t[0][i][v] * row[1];
        sums[2][v] += t[1][i][v] * row[0];
        if constexpr (order == 2) {
          sums[3][v] += t[0][i][v] * row[2];
          sums[4][v] += t[1][i][v] * row[1];
          sums[5][v] += t[2][i][v] * row[0];
        }
      }
  }
  return core;
}

// README (9): computes f and its derivatives at kLanes x vectors points, [result][point]. Reads the core once.
template <class T, int order, int vectors>
void contract_derivatives(const Packed<T>& g, const int64_t* r, const BlockWork<T, order>& w, int64_t at) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, stride = kPoints<T>;
  for (int i = 0; i < results_of(g.d, order); ++i)
    for (int v = 0; v < vectors; ++v) store(w.results + i * stride + at + v * W, V{});
  const T* core = g.core;
  Odometer index;
  InterruptCheck check;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    check((order + 1) * matrix_ns(g, W * vectors));
    V sums[order == 1 ? 3 : 6][vectors] = {};
    core = contract_matrix<T, order, vectors>(g, core, w, at, sums);
    for (int v = 0; v < vectors; ++v) {
      const auto add = [&](int result, int i, int j, V sum) {
        T* const to = w.results + result * stride + at + v * W;
        store(to, load<V>(to) + lead_derivative<T>(g, index, w.functions, at + v * W, i, j, sum));
      };
      each_derivative<order>(g.d, g.leading, [&](int k) { return sums[k][v]; }, add);
    }
  }
}

// Writes the results of one block to the caller's arrays, using the chain rule of the domain.
template <class T, int order>
void write_results(const TuckerDerivatives<T>& q, const T* results, int64_t first, int64_t left) {
  const TuckerEval<T>& p = q.value;
  const int d = p.d;
  const auto slope = [&](int k) { return T(2 / (p.hi[k] - p.lo[k])); };
  __builtin_memcpy(p.f + first, results, std::size_t(left) * sizeof(T));
  for (int i = 0; order > 0 && i < d; ++i) {
    const T* at = results + gradient_at(i) * kPoints<T>;
    for (int64_t n = 0; n < left; ++n) q.gradient[(first + n) * d + i] = at[n] * slope(i);
    for (int j = i; order > 1 && j < d; ++j) {
      at = results + hessian_at(d, i, j) * kPoints<T>;
      for (int64_t n = 0; n < left; ++n) {
        T* const matrix = q.hessian + (first + n) * d * d;
        matrix[i * d + j] = matrix[j * d + i] = at[n] * slope(i) * slope(j);
      }
    }
  }
}

// Per point: reads d coordinates, writes 1 (+ d (+ d^2)) values. Tables and core are read from cache once per kPoints points. If only
// values are requested and cells are used, the factor functions of several blocks are computed axis by axis, so that the cells of an axis
// stay in cache.
template <class T, int order>
int64_t evaluate(const TuckerDerivatives<T>& q, const Packed<T>& g) {
  using Work = BlockWork<T, order>;
  constexpr int points = kPoints<T>;
  const TuckerEval<T>& p = q.value;
  const Scratch<T> slopes(order > 0 ? g.tables : 0);
  if (order > 0) pack_slopes<T>(g, slopes);
  Interval intervals[kMaxAxes];
  map_intervals(p, intervals);
  const Cells<T> cells(g);
  const T* const data = cells_of(cells, g, p);
  const int64_t max_blocks = order == 0 && data ? kCellBlocks : 1, each = Work::size(g);
  const double ns = (order + 1) * g.multiply_adds * kMultiplyAddNs<T> * points + (order > 0 ? 100 : 50);
  int64_t bad = -1;
  parallel_for((p.P + points - 1) / points, p.threads, ns, [&](int64_t begin, int64_t end) {
    const Scratch<T> memory(max_blocks * each + (data ? (order + 1) * cells.widest * points : 0));
    for (int64_t from = begin; from < end; from += max_blocks) {
      const int64_t blocks = min(max_blocks, end - from);
      for (int64_t b = 0; b < blocks; ++b) {
        const Work w(g, memory + b * each);
        const int64_t invalid = map_points<T, points>(p, intervals, (from + b) * points, w.u, w.sign);
        if (invalid >= 0) note_first(bad, invalid);
      }
      for (int k = 0; k < p.d; ++k)
        for (int64_t b = 0; b < blocks; ++b) {
          const Work w(g, memory + b * each);
          if (data && cells.half[k]) {
            cell_functions<T, order>(cells, data, g, k, w.u, w.sign, w.functions, memory + max_blocks * each);
            continue;
          }
          axis_functions<T>(g, g.table, k, w.u, w.sign, w.functions[0]);
          if constexpr (order > 0) axis_functions<T, 1>(g, slopes, k, w.u, w.sign, w.functions[1]);
          if constexpr (order > 1) axis_functions<T, 2>(g, slopes, k, w.u, w.sign, w.functions[2]);
        }
      for (int64_t b = 0; b < blocks; ++b) {
        Work w(g, memory + b * each);
        w.set_rows(g);
        if constexpr (order == 0) {
          contract(g, p.r, w.functions[0], w.rows[0], w.results);
        } else {
          constexpr int vectors = kDerivativeVectors<order>;
          for (int64_t i = 0; i < points; i += vectors * kLanes<T>) contract_derivatives<T, order, vectors>(g, p.r, w, i);
        }
        const int64_t first = (from + b) * points;
        write_results<T, order>(q, w.results, first, min<int64_t>(points, p.P - first));
      }
    }
  });
  return bad;
}
template <class T, int order>
int64_t evaluate(const TuckerDerivatives<T>& q) {
  if (q.value.P == 0) return -1;
  return q.value.packed ? evaluate<T, order>(q, *static_cast<const Packed<T>*>(q.value.packed))
                        : evaluate<T, order>(q, Packed<T>(q.value, kNarrow));
}

template <class T>
int64_t tucker_eval(const TuckerEval<T>& p) {
  return evaluate<T, 0>({p, nullptr, nullptr});
}
template <class T>
int64_t tucker_derivatives(const TuckerDerivatives<T>& q) {
  return q.hessian ? evaluate<T, 2>(q) : q.gradient ? evaluate<T, 1>(q) : evaluate<T, 0>(q);
}

template <class T>
void* pack(const TuckerEval<T>& p) {
  return new Packed<T>(p, kNarrow);
}
template <class T>
void discard(void* packed) {
  delete static_cast<Packed<T>*>(packed);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
