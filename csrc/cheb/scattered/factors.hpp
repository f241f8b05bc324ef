// Values of the factor functions at points.
#pragma once
#include "cheb/scattered/layout.hpp"
#include "core/lanes/lanes.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// Maps the points of one block to [-1, 1]: u = 2(|t| - 1) and the sign of t for each axis. Lanes without a point repeat the last one.
// Returns the index within X of the first invalid coordinate, or -1.
template <class T, int points>
int64_t map_points(const TuckerEval<T>& p, const Interval* intervals, int64_t first, T* u, T* sign) {
  constexpr int W = kLanes<double>;
  using D = Lanes<double>;
  using F = Lanes<T, W>;
  const int64_t count = min<int64_t>(points, p.P - first);
  bool all_valid = true;
  for (int k = 0; k < p.d; ++k) {
    alignas(64) double x[points];
    const T* at = p.X + first * p.d + k;
    for (int64_t i = 0; i < points; ++i) x[i] = double(at[min(i, count - 1) * p.d]);
    const D far = D{} + intervals[k].far, end = D{} + intervals[k].end;
    auto valid = D{} == D{};
    for (int i = 0; i < points; i += W) {
      D t = to_reference(load<D>(x + i), intervals[k]);
      valid &= (t <= far) & (t >= -far);
      t = lower(higher(t, -end), end);
      const D s = t < 0.0 ? D{} - 1 : D{} + 1;
      store<F>(u + k * points + i, converted<T>(2 * (t * s - 1)));
      store<F>(sign + k * points + i, converted<T>(s));
    }
    for (int i = 0; i < W; ++i) all_valid = all_valid && valid[i];
  }
  if (all_valid) return -1;
  for (int64_t i = 0; i < count * p.d; ++i) {
    const double t = to_reference(double(p.X[first * p.d + i]), intervals[i % p.d]), far = intervals[i % p.d].far;
    if (!(t <= far && t >= -far)) return first * p.d + i;
  }
  return -1;
}

template <class T>
void map_intervals(const TuckerEval<T>& p, Interval* intervals) {
  for (int k = 0; k < p.d; ++k) intervals[k] = interval(p.lo[k], p.hi[k], kEps<T>, p.extrapolate);
}

// README (2), (3), (9): computes `columns` factor functions, or derivatives of them, at kLanes x vectors points. Reads the tile once;
// polynomials and sums stay in registers. Function c is written to out[c * stride ...].
template <class T, int vectors, int columns, int derivative>
QF_HD void tile_functions(const T* tile, int64_t rows, const T* u, const T* sign, int64_t stride, T* out) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  V sums[columns][vectors] = {}, s[vectors];
  PolynomialOf<V, derivative> polynomial[vectors];
  for (int v = 0; v < vectors; ++v) {
    polynomial[v] = PolynomialOf<V, derivative>::first(load<V>(u + v * W));
    s[v] = load<V>(sign + v * W);
  }
  for (int64_t k = 0; k < rows; k += 2, tile += 2 * columns) {
    V even[vectors], odd[vectors];  // T_k(-t) = (-1)^k T_k(t), also for U_k; the opposite sign for U_k'
    for (int v = 0; v < vectors; ++v) even[v] = derivative == 2 ? polynomial[v].value * s[v] : polynomial[v].value;
    for (int c = 0; c < columns; ++c)
      for (int v = 0; v < vectors; ++v) sums[c][v] += even[v] * tile[c];
    for (int v = 0; v < vectors; ++v) {
      polynomial[v].advance();
      odd[v] = derivative == 2 ? polynomial[v].value : polynomial[v].value * s[v];
    }
    for (int c = 0; c < columns; ++c)
      for (int v = 0; v < vectors; ++v) sums[c][v] += odd[v] * tile[columns + c];
    for (int v = 0; v < vectors; ++v) polynomial[v].advance();
  }
  for (int c = 0; c < columns; ++c)
    for (int v = 0; v < vectors; ++v) store(out + c * stride + v * W, sums[c][v]);
}

// T_k, U_k or U_k' at kLanes x vectors points, for the next `rows` degrees: [degree][point].
template <class T, int vectors, int derivative>
struct PolynomialRows {
  using V = Lanes<T>;
  static constexpr int W = kLanes<T>;
  PolynomialOf<V, derivative> polynomial[vectors];
  V sign[vectors];

  PolynomialRows(const T* u, const T* s) {
    for (int v = 0; v < vectors; ++v) {
      polynomial[v] = PolynomialOf<V, derivative>::first(load<V>(u + v * W));
      sign[v] = load<V>(s + v * W);
    }
  }
  // Must start at an even k.
  void fill(int64_t rows, int64_t stride, T* out) {
    for (int v = 0; v < vectors; ++v) {
      auto p = polynomial[v];
      const V even = derivative == 2 ? sign[v] : V{} + 1, odd = derivative == 2 ? V{} + 1 : sign[v];
      T* to = out + v * W;
      for (int64_t k = 0; k + 1 < rows; k += 2, to += 2 * stride) {
        store(to, p.value * even);
        p.advance();
        store(to + stride, p.value * odd);
        p.advance();
      }
      if (rows % 2) store(to, p.value * even), p.advance();
      polynomial[v] = p;
    }
  }
};

// README (2), (3), (9): adds the terms of `rows` polynomials to `columns` factor functions or derivatives; if `begins`, sets them instead.
template <class T, int vectors, int columns>
QF_HD void add_tile(const T* tile, int64_t rows, const T* polynomials, bool begins, int64_t stride, T* out) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  V sums[columns][vectors];
  for (int c = 0; c < columns; ++c)
    for (int v = 0; v < vectors; ++v) sums[c][v] = begins ? V{} : load<V>(out + c * stride + v * W);
  for (int64_t k = 0; k < rows; ++k, tile += columns, polynomials += vectors * W) {
    V x[vectors];
    for (int v = 0; v < vectors; ++v) x[v] = load<V>(polynomials + v * W);
    for (int c = 0; c < columns; ++c)
      for (int v = 0; v < vectors; ++v) sums[c][v] += x[v] * tile[c];
  }
  for (int c = 0; c < columns; ++c)
    for (int v = 0; v < vectors; ++v) store(out + c * stride + v * W, sums[c][v]);
}

// Computes all factor functions of one axis; `columns` is a multiple of kNarrow. A single tile keeps its polynomials in registers. For
// several tiles they are computed once, a panel at a time: recomputing them for each tile would take as long as the sums.
template <class T, int vectors, int derivative = 0>
void factor_functions(const T* table, int64_t rows, int64_t columns, const T* u, const T* sign, int64_t stride, T* out) {
  InterruptCheck check;
  if (columns == kNarrow) return tile_functions<T, vectors, kNarrow, derivative>(table, rows, u, sign, stride, out);
  if (columns == kColumns) return tile_functions<T, vectors, kColumns, derivative>(table, rows, u, sign, stride, out);
  alignas(64) T panel[kPanel * vectors * kLanes<T>];
  PolynomialRows<T, vectors, derivative> polynomials(u, sign);
  for (int64_t k = 0; k < rows; k += kPanel, check(double(kPanel * columns * vectors))) {
    const int64_t count = min<int64_t>(kPanel, rows - k);
    polynomials.fill(count, vectors * kLanes<T>, panel);
    int64_t c = 0;
    for (; c + kColumns <= columns; c += kColumns)
      add_tile<T, vectors, kColumns>(table + c * rows + k * kColumns, count, panel, k == 0, stride, out + c * stride);
    if (c < columns) add_tile<T, vectors, kNarrow>(table + c * rows + k * kNarrow, count, panel, k == 0, stride, out + c * stride);
  }
}

// Writes T_k, k < rows, at the points of a block, as [rows][points].
template <class T, int points>
void tabulate(const T* u, const T* sign, int64_t rows, T* out) {
  InterruptCheck check;
  for (int i = 0; i < points; i += kLanes<T>, check(double(rows))) PolynomialRows<T, 1, 0>(u + i, sign + i).fill(rows, points, out + i);
}

// Computes the functions of one axis, or their derivatives, at the points of a block; without a table, the polynomials themselves.
template <class T, int derivative = 0>
void axis_functions(const Layout<T>& g, const T* tables, int k, const T* u, const T* sign, T* out) {
  constexpr int points = kPoints<T>;
  u += k * points, sign += k * points, out += g.column_at[k] * points;
  if (g.rows[k] > 0)
    factor_functions<T, kVectors, derivative>(tables + g.table_at[k], g.rows[k], g.columns[k], u, sign, points, out);
  else
    tabulate<T, points>(u, sign, g.columns[k], out);
}

// The multi-index of the leading axes.
struct Odometer {
  int64_t at[kMaxAxes] = {};
  void advance(const int64_t* r, int axes) {
    for (int k = axes - 1; k >= 0; --k) {
      if (++at[k] < r[k]) return;
      at[k] = 0;
    }
  }
};

// README (4): `start` times the product of the leading axes' functions, except that of axis `without`.
template <class T, class V>
QF_HD V lead_product(const Layout<T>& l, const Odometer& index, const T* functions, int64_t stride, int without, V start) {
  for (int k = 0; k < l.leading; ++k)
    if (k != without) start *= load<V>(functions + (l.column_at[k] + index.at[k]) * stride);
  return start;
}

// The functions of the rows of the core's matrices: those of axis d - 2, or for d = 1 a row of ones, padded with zeros.
template <class T>
const T* row_functions(const Layout<T>& l, T* functions, T* ones, int64_t stride) {
  if (l.d > 1) return functions + l.column_at[l.d - 2] * stride;
  set_zero(ones, l.rb_padded * stride);
  for (int64_t i = 0; i < stride; ++i) ones[i] = 1;
  return ones;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
