// Represents factor functions with many coefficients by polynomials of low degree in cells of the interval, for calls with many points.
#pragma once
#include "cheb/scattered/factors.hpp"
#include "core/lanes/shuffles.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

template <class T>
constexpr int kTerms = sizeof(T) == 4 ? 13 : 20;  // coefficients per cell: the error of second derivatives is below eps
constexpr int64_t kMaxRows = 4097;  // maximum rows of an axis with cells; in float32, squares of larger integers are not exact
constexpr int kCellBlocks = 32;     // blocks of points that read the cells of one axis before those of the next
constexpr int kCellPoints = 4;      // points per sweep of their cells, to hide the latency of a multiply-add

// README (12): the number of cells on either side of t = 0, a power of two, so that their ends are exact.
inline int64_t cells_per_side(int64_t n) {
  int64_t half = kPoints<double>;
  while (2 * half < n - 1) half *= 2;
  return half;
}

// README (13): converts a second derivative at the Chebyshev points of a cell to coefficients of the function in powers of tau, from the
// second power on. The conversion goes through Chebyshev coefficients c_k of the second derivative, which decay as fast as the coefficients
// of T_k in powers of tau grow.
template <int nodes>
struct CellFit {
  double point[nodes];
  double chebyshev[nodes][nodes];   // [k][point]
  double power[nodes][nodes] = {};  // [k][m]: T_k = sum_m power[k][m] tau^m

  CellFit() {
    for (int j = 0; j < nodes; ++j) {
      point[j] = __builtin_cos((j + 0.5) * 3.14159265358979323846 / nodes);
      double before = point[j], at = 1;  // T_{-1}, T_0
      for (int k = 0; k < nodes; ++k) {
        chebyshev[k][j] = (k ? 2.0 : 1.0) / nodes * at;
        const double next = 2 * point[j] * at - before;
        before = at, at = next;
      }
    }
    power[0][0] = 1, power[1][1] = 1;
    for (int k = 2; k < nodes; ++k)
      for (int m = 0; m <= k; ++m) power[k][m] = (m ? 2 * power[k - 1][m - 1] : 0) - power[k - 2][m];
  }

  // Converts values[nodes] of one function, in as many cells as V has lanes, to powers[nodes + 2]. Leaves the first two powers unchanged.
  template <class V>
  void operator()(const V* values, V* powers) const {
    V c[nodes];
    for (int k = 0; k < nodes; ++k) {
      c[k] = V{};
      for (int j = 0; j < nodes; ++j) c[k] += values[j] * chebyshev[k][j];
    }
    for (int m = 0; m < nodes; ++m) {
      V sum{};
      for (int k = m; k < nodes; k += 2) sum += c[k] * power[k][m];
      powers[m + 2] = sum / double((m + 1) * (m + 2));
    }
  }
};

// The cells of all axes that have them: [side][cell][power of tau][column], columns rounded up to whole vectors.
template <class T>
struct Cells {
  int64_t half[kMaxAxes], width[kMaxAxes], at[kMaxAxes];  // half: 0 for an axis without cells
  int64_t numbers = 0, widest = 0, nodes = 0;             // nodes: the maximum number of evaluations to fill the cells of an axis

  explicit Cells(const Layout<T>& l) {
    for (int k = 0; k < l.d; ++k) {
      width[k] = round_up(l.columns[k], kLanes<T>);
      const bool pays = 3 * kTerms<T> * width[k] <= l.rows[k] * l.columns[k];
      half[k] = pays && l.rows[k] <= kMaxRows ? cells_per_side(l.rows[k]) : 0;
      at[k] = numbers;
      numbers += 2 * half[k] * kTerms<T> * width[k];
      widest = max(widest, width[k]);
      nodes = max(nodes, 2 * half[k] * kTerms<T>);
    }
  }
  // Whether filling and reading cells costs less than sums over all coefficients. Depends only on sizes and `extrapolate`, because the
  // last bits of the results depend on it.
  bool pay(const TuckerEval<T>& p) const { return numbers > 0 && !p.extrapolate && p.P >= 3 * nodes; }
};

// The tables of one axis in double precision, and the sizes of its cells.
struct CellSource {
  const double *table, *slopes;
  int64_t rows, columns, half, width;
};

// README (13): fills kPoints<double> cells on one side of 0, starting at `first`. Value and slope in the middle are the first two
// coefficients. The others are computed from the second derivative: if the values were fitted, slopes would have their rounding errors
// times the square of the degree.
template <class T>
void fill_cells(const CellFit<kTerms<T> - 2>& fit, const CellSource& s, int64_t first, bool negative, T* to) {
  constexpr int points = kPoints<double>, terms = kTerms<T>, W = kLanes<double>;
  using V = Lanes<double>;
  const Scratch<double> values(terms * s.columns * points);
  alignas(64) double u[points], sign[points], slope[points];  // slope: dt / d tau
  const double size = double(s.half) * double(s.half);
  for (int i = 0; i < points; ++i) {
    sign[i] = negative ? -1 : 1;
    slope[i] = -sign[i] * (double(first + i) + 0.5) / size;
  }
  for (int j = 0; j < terms; ++j) {
    for (int i = 0; i < points; ++i) {
      const double cell = double(first + i), radius = cell + 0.5;
      u[i] = -2 / size * (cell * cell + radius + radius * (j < 2 ? 0.0 : fit.point[j - 2]));
    }
    double* const at = values + j * s.columns * points;
    if (j == 0)
      factor_functions<double, kVectors>(s.table, s.rows, s.columns, u, sign, points, at);
    else if (j == 1)
      factor_functions<double, kVectors, 1>(s.slopes, s.rows, s.columns, u, sign, points, at);
    else
      factor_functions<double, kVectors, 2>(s.slopes, s.rows, s.columns, u, sign, points, at);
  }
  InterruptCheck check;
  for (int64_t c = 0; c < s.columns; ++c, check(points * terms * terms))
    for (int i = 0; i < points; i += W) {
      V at[terms], powers[terms];
      const V chain = load<V>(slope + i);
      for (int j = 0; j < terms; ++j) at[j] = load<V>(values + (j * s.columns + c) * points + i) * (j < 2 ? V{} + 1 : chain * chain);
      powers[0] = at[0], powers[1] = at[1] * chain;
      fit(at + 2, powers);
      for (int m = 0; m < terms; ++m)
        for (int l = 0; l < W; ++l) to[((first + i + l) * terms + m) * s.width + c] = T(powers[m][l]);
    }
}

template <class T>
T* make_cells(const Cells<T>& cells, const Packed<T>& g, int threads) {
  Scratch<T> data(cells.numbers);
  set_zero<T>(data, cells.numbers);
  const CellFit<kTerms<T> - 2> fit;
  for (int k = 0; k < g.d; ++k) {
    const int64_t half = cells.half[k], size = g.rows[k] * g.columns[k], blocks = half / kPoints<double>;
    if (half == 0) continue;
    const Scratch<double> table(size), slopes(size);
    for (int64_t i = 0; i < size; ++i) table[i] = g.table[g.table_at[k] + i];
    pack_slopes<double>(table, g.rows[k], g.columns[k], slopes);
    const CellSource source = {table, slopes, g.rows[k], g.columns[k], half, cells.width[k]};
    const double ns = double(kPoints<double> * kTerms<T>) * double(size) * kMultiplyAddNs<double>;
    parallel_for(2 * blocks, threads, ns, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        T* const side = data + cells.at[k] + (b / blocks) * half * kTerms<T> * source.width;
        fill_cells<T>(fit, source, b % blocks * kPoints<double>, b >= blocks, side);
      }
    });
  }
  T* const owned = data;
  data.give();
  return owned;
}

// The cells of a packed tensor, or null for a call that is faster without them. The first call that needs them computes them and stores
// them with the tensor. If two threads compute them, one result is discarded.
template <class T>
const T* cells_of(const Cells<T>& cells, const Packed<T>& g, const TuckerEval<T>& p) {
  if (!cells.pay(p)) return nullptr;
  T* seen = __atomic_load_n(&g.cells, __ATOMIC_ACQUIRE);
  if (seen) return seen;
  T* const data = make_cells(cells, g, p.threads);
  if (__atomic_compare_exchange_n(&g.cells, &seen, data, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return data;
  release(data);
  return seen;
}

// The positions of a block's points in the cells of one axis.
template <class T>
struct CellPositions {
  static constexpr int points = kPoints<T>;
  const T* cell[points];
  alignas(64) T tau[points], slope[points];  // slope: d tau / dt

  // README (12)
  CellPositions(const T* cells, int64_t half, int64_t width, const T* u, const T* sign) {
    using V = Lanes<T>;
    const T size = T(half) * T(half);
    const int64_t stride = kTerms<T> * width;
    alignas(64) T y[points];
    T root[points];
    for (int i = 0; i < points; i += kLanes<T>) {
      const V scaled = load<V>(u + i) * (-size / 2);
      store(y + i, scaled);
      store(root + i, square_root(scaled));
    }
    for (int i = 0; i < points; ++i) {
      const int64_t at = min<int64_t>(int64_t(root[i]), half - 1);
      cell[i] = cells + (at + (sign[i] < 0 ? half : 0)) * stride;
      root[i] = T(at);
    }
    for (int i = 0; i < points; i += kLanes<T>) {
      const V at = load<V>(root + i), radius = at + T(0.5);
      store(tau + i, (load<V>(y + i) - (at * at + radius)) / radius);
      store(slope + i, load<V>(sign + i) * -size / radius);
    }
  }
};

// Evaluates f and its first `order` derivatives with respect to tau (half of the second) by Horner's rule, for kCellPoints points and
// `tiles` vectors of columns.
template <class T, int order, int tiles>
QF_HD void sweep_cells(const T* const* cell, const T* tau, int64_t width, int64_t column, T* const* across) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, G = kCellPoints;
  V sums[order + 1][tiles][G] = {}, x[G];
  for (int i = 0; i < G; ++i) x[i] = broadcast<V>(tau[i]);
  for (int m = kTerms<T> - 1; m >= 0; --m)
    for (int i = 0; i < G; ++i)
      for (int s = 0; s < tiles; ++s) {
        for (int q = order; q > 0; --q) sums[q][s][i] = sums[q][s][i] * x[i] + sums[q - 1][s][i];
        sums[0][s][i] = sums[0][s][i] * x[i] + load<V>(cell[i] + m * width + column + s * W);
      }
  for (int q = 0; q <= order; ++q)
    for (int i = 0; i < G; ++i)
      for (int s = 0; s < tiles; ++s) store(across[q] + i * width + column + s * W, sums[q][s][i]);
}

// Computes all factor functions of one axis at the points of a block, and `order` derivatives with respect to t, as axis_functions does.
// `work`: (order + 1) kPoints rows of the cells' width.
template <class T, int order>
void cell_functions(const Cells<T>& cells, const T* data, const Layout<T>& g, int k, const T* u, const T* sign, T* const* functions,
                    T* work) {
  using V = Lanes<T>;
  constexpr int points = kPoints<T>, W = kLanes<T>, tiles = order == 0 ? 2 : 1;
  const int64_t width = cells.width[k], columns = g.columns[k];
  const CellPositions<T> positions(data + cells.at[k], cells.half[k], width, u + k * points, sign + k * points);
  for (int i = 0; i < points; i += kCellPoints) {
    T* across[order + 1];
    for (int q = 0; q <= order; ++q) across[q] = work + (q * points + i) * width;
    int64_t c = 0;
    for (; c + tiles * W <= width; c += tiles * W) sweep_cells<T, order, tiles>(positions.cell + i, positions.tau + i, width, c, across);
    if (c < width) sweep_cells<T, order, 1>(positions.cell + i, positions.tau + i, width, c, across);
  }
  for (int q = 0; q <= order; ++q)
    for (int i = 0; i < points; i += W) {
      const V slope = load<V>(positions.slope + i), factor = q == 0 ? V{} + 1 : q == 1 ? slope : 2 * slope * slope;
      for (int64_t c = 0; c < columns; c += W) {
        V square[W];
        for (int j = 0; j < W; ++j) square[j] = load<V>(work + (q * points + i + j) * width + c);
        transpose(square);
        T* const to = functions[q] + (g.column_at[k] + c) * points + i;
        for (int j = 0; j < W && c + j < columns; ++j) store(to + j * points, q == 0 ? square[j] : square[j] * factor);
      }
    }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
