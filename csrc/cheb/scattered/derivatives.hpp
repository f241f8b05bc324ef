// Values of a Chebyshev-Tucker tensor together with their gradients and Hessians.
#pragma once
#include "cheb/scattered/evaluate.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// Vectors of points side by side: sums over the last axis of a function and `order` of its derivatives must fit the registers.
template <int order>
constexpr int kDerivativeVectors = kWideFile && order == 1 ? 2 : 1;

// A block of points: functions of all axes and their derivatives, of axis d - 2 (or its stand-in) too; [column][point].
template <class T>
struct DerivativeWork {
  const T* functions[3];
  const T* rows[3];
};

// README (9): where f and its derivatives are among the results of a block. Axes i <= j.
inline int gradient_at(int i) { return 1 + i; }
inline int hessian_at(int d, int i, int j) { return 1 + d + i * d - i * (i - 1) / 2 + (j - i); }
inline int results_of(int d, int order) { return order == 1 ? 1 + d : 1 + d + d * (d + 1) / 2; }

// The product of the leading axes' functions times `start`, axes i and j differentiated, twice where they are the same; -1: none.
template <class T, class V>
QF_HD V lead_derivative(const Layout<T>& l, const Odometer& index, const T* const* functions, int64_t at, int i, int j, V start) {
  for (int k = 0; k < l.leading; ++k) start *= load<V>(functions[(k == i) + (k == j)] + (l.column_at[k] + index.at[k]) * kPoints<T> + at);
  return start;
}

// README (9): the sums over the last two axes for one index of the leading ones. Every number of the core is read once for the function
// and all its derivatives. sums: of (rows, last) differentiated (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2) times.
template <class T, int order, int vectors>
QF_HD const T* contract_matrix(const Packed<T>& g, const T* core, const DerivativeWork<T>& w, int64_t at,
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

// README (9): f and its derivatives at kLanes x vectors points, [result][point]. Reads the core once.
template <class T, int order, int vectors>
void contract_derivatives(const Packed<T>& g, const int64_t* r, const DerivativeWork<T>& w, int64_t at, T* results) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, stride = kPoints<T>;
  const int d = g.d, row = d - 2, last = d - 1;
  for (int i = 0; i < results_of(d, order); ++i)
    for (int v = 0; v < vectors; ++v) store(results + i * stride + at + v * W, V{});
  const T* core = g.core;
  Odometer index;
  InterruptCheck check;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    check((order + 1) * matrix_ns(g, W * vectors));
    V sums[order == 1 ? 3 : 6][vectors] = {};
    core = contract_matrix<T, order, vectors>(g, core, w, at, sums);
    for (int v = 0; v < vectors; ++v) {
      const auto add = [&](int result, int i, int j, V sum) {
        T* const to = results + result * stride + at + v * W;
        store(to, load<V>(to) + lead_derivative<T>(g, index, w.functions, at + v * W, i, j, sum));
      };
      add(0, -1, -1, sums[0][v]);
      if (d > 1) add(gradient_at(row), -1, -1, sums[1][v]);
      add(gradient_at(last), -1, -1, sums[2][v]);
      for (int k = 0; k < g.leading; ++k) add(gradient_at(k), k, -1, sums[0][v]);
      if constexpr (order == 2) {
        if (d > 1) add(hessian_at(d, row, row), -1, -1, sums[3][v]), add(hessian_at(d, row, last), -1, -1, sums[4][v]);
        add(hessian_at(d, last, last), -1, -1, sums[5][v]);
        for (int k = 0; k < g.leading; ++k) {
          add(hessian_at(d, k, row), k, -1, sums[1][v]), add(hessian_at(d, k, last), k, -1, sums[2][v]);
          for (int l = k; l < g.leading; ++l) add(hessian_at(d, k, l), k, l, sums[0][v]);
        }
      }
    }
  }
}

// The results of one block in the caller's arrays, by the chain rule of the domain.
template <class T>
void write_derivatives(const TuckerDerivatives<T>& q, const T* results, int64_t first, int64_t left) {
  const TuckerEval<T>& p = q.value;
  const int d = p.d;
  const auto slope = [&](int k) { return T(2 / (p.hi[k] - p.lo[k])); };
  __builtin_memcpy(p.f + first, results, std::size_t(left) * sizeof(T));
  for (int i = 0; i < d; ++i) {
    const T* at = results + gradient_at(i) * kPoints<T>;
    for (int64_t n = 0; n < left; ++n) q.gradient[(first + n) * d + i] = at[n] * slope(i);
    for (int j = i; q.hessian && j < d; ++j) {
      at = results + hessian_at(d, i, j) * kPoints<T>;
      for (int64_t n = 0; n < left; ++n) {
        T* const matrix = q.hessian + (first + n) * d * d;
        matrix[i * d + j] = matrix[j * d + i] = at[n] * slope(i) * slope(j);
      }
    }
  }
}

// Per point: reads d coordinates, writes 1 + d (+ d^2) numbers. Tables and core are read from cache once per kPoints points.
template <class T, int order>
int64_t derivatives(const TuckerDerivatives<T>& q, const Packed<T>& g) {
  const TuckerEval<T>& p = q.value;
  constexpr int points = kPoints<T>;
  const Scratch<T> slopes(g.tables);
  pack_slopes<T>(g, slopes);
  const Cells<T> cells(g);
  const T* const data = cells_of(cells, g, p);
  Interval intervals[kMaxAxes];
  map_intervals(p, intervals);
  int64_t bad = -1;
  const double ns = (order + 1) * g.multiply_adds * kMultiplyAddNs<T> * points + 100;
  const int64_t stand_in = p.d == 1 ? g.rb_padded : 0;
  parallel_for((p.P + points - 1) / points, p.threads, ns, [&](int64_t begin, int64_t end) {
    Scratch<T> work(((order + 1) * (g.total + stand_in + (data ? cells.widest : 0)) + 2 * p.d + results_of(p.d, order)) * points);
    T *u = work, *sign = u + p.d * points, *results = sign + p.d * points, *at = results + results_of(p.d, order) * points;
    DerivativeWork<T> w{};
    T* functions[3] = {};
    for (int k = 0; k <= order; ++k, at += (g.total + stand_in) * points) {
      w.functions[k] = functions[k] = at;
      w.rows[k] = k == 0 || p.d > 1 ? row_functions(g, at, at + g.total * points, points) : at + g.total * points;
      if (k > 0) set_zero(at + g.total * points, stand_in * points);
    }
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * points, left = min<int64_t>(points, p.P - first);
      const int64_t found = map_points<T, points>(p, intervals, first, u, sign);
      if (found >= 0) note_first(bad, found);
      for (int k = 0; k < p.d; ++k) {
        if (data && cells.half[k]) {
          cell_functions<T, order>(cells, data, g, k, u, sign, functions, at);
          continue;
        }
        axis_functions<T>(g, g.table, k, u, sign, functions[0]);
        axis_functions<T, 1>(g, slopes, k, u, sign, functions[1]);
        if (order == 2) axis_functions<T, 2>(g, slopes, k, u, sign, functions[2]);
      }
      constexpr int vectors = kDerivativeVectors<order>;
      for (int64_t i = 0; i < points; i += vectors * kLanes<T>) contract_derivatives<T, order, vectors>(g, p.r, w, i, results);
      write_derivatives(q, results, first, left);
    }
  });
  return bad;
}

template <class T>
int64_t derivatives(const TuckerDerivatives<T>& q, const Packed<T>& g) {
  return q.hessian ? derivatives<T, 2>(q, g) : derivatives<T, 1>(q, g);
}

template <class T>
int64_t tucker_derivatives(const TuckerDerivatives<T>& q) {
  if (!q.gradient) return tucker_eval(q.value);
  if (q.value.P == 0) return -1;
  return q.value.packed ? derivatives(q, *static_cast<const Packed<T>*>(q.value.packed)) : derivatives(q, Packed<T>(q.value, kNarrow));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
