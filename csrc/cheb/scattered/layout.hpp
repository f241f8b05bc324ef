// The layout of a Tucker tensor for the kernels, and their tile sizes.
#pragma once
#include "cheb/scattered/args.hpp"
#include "cheb/scattered/formula.hpp"
#include "core/lanes/lanes.hpp"
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

constexpr bool kWideFile = kVectorBytes == 64;      // 32 vector registers; elsewhere, tiles fit in 16
constexpr int kColumns = kWideFile ? 8 : 4;         // factor columns per tile: 8 x 2 (4 x 2) sums and the polynomials fill the registers
constexpr int kNarrow = 4;                          // columns of a narrow last tile
constexpr int kVectors = 2;                         // vectors of points; a third one spilled the sums and was 10 % slower
constexpr int kAdjointVectors = kWideFile ? 2 : 1;  // the adjoint has twice as many sums per vector
constexpr int kPanel = 128;                         // number of polynomials computed at a time for several tiles of columns, in L1
constexpr int kRows = 4;                            // rows of the core whose sums over its last axis are computed together
constexpr int kAdjointRows = 8;                     // rows of an outer product; 8 chains hide the latency of a multiply-add
constexpr int kAdjointColumns = 8;                  // padding of rank axes in the adjoint, where columns are in lanes too
constexpr int kAdjointPoints = 96;                  // points per outer product: a multiple of every ISA's block, and small enough for L2

template <class T>
constexpr int kPoints = kVectors * kLanes<T>;
template <class T>
constexpr double kEps = sizeof(T) == 4 ? 1.1920928955078125e-07 : 2.220446049250313e-16;

// Sizes and offsets. The leading d - 2 axes of the core are merged into one, `lead`; the last two form matrices, which are contracted with
// factor functions, one point per lane. For d = 1 there is one matrix with one row.
template <class T>
struct Layout {
  int d, leading;                                   // axes, leading axes
  int64_t columns[kMaxAxes];                        // r_k, rounded up
  int64_t rows[kMaxAxes];                           // n_k, rounded up to pairs of polynomials; 0 without a table
  int64_t table_at[kMaxAxes], column_at[kMaxAxes];  // start of an axis in the tables, in the factor functions
  int64_t tables = 0, total = 0;                    // elements in all tables, columns of all axes
  int64_t lead = 1, rb = 1, rc, rb_padded;
  double multiply_adds = 0;  // for the value at one point

  Layout(const TuckerEval<T>& p, int64_t pad) : d(p.d), leading(p.d > 2 ? p.d - 2 : 0) {
    for (int k = 0; k < d; ++k) {
      columns[k] = round_up(p.r[k], pad);
      rows[k] = p.dense ? 0 : max<int64_t>(2, round_up(p.n[k], 2));
      table_at[k] = tables;
      column_at[k] = total;
      tables += rows[k] * columns[k];
      total += columns[k];
      multiply_adds += double(rows[k] * columns[k]);
    }
    for (int k = 0; k < leading; ++k) lead *= p.r[k];
    if (d > 1) rb = p.r[d - 2];
    rc = p.r[d - 1];
    rb_padded = round_up(rb, pad);
    multiply_adds += double(lead) * double(rb_padded) * double(rc);
  }
  int64_t core_size() const { return lead * rb_padded * rc; }
};

// The time to contract one matrix of the core with the factor functions at `points` points.
template <class T>
double matrix_ns(const Layout<T>& l, int64_t points) {
  return double(l.rb_padded * l.rc * points) * kMultiplyAddNs<T>;
}

// The table of one axis is [tile of columns][k][column], with zeros beyond n and r. `at` is the start of column c, and `stride` the
// distance between its rows.
struct Column {
  int64_t at, stride;
  Column(int64_t c, int64_t rows, int64_t columns) : stride(min<int64_t>(kColumns, columns - c / kColumns * kColumns)) {
    at = c / kColumns * kColumns * rows + c % kColumns;
  }
};

template <class T>
void pack_factor(const T* U, int64_t n, int64_t r, int64_t rows, int64_t columns, T* table) {
  set_zero(table, rows * columns);
  for (int64_t c = 0; c < r; ++c) {
    const Column column(c, rows, columns);
    check_interrupt(double(n));
    for (int64_t k = 0; k < n; ++k) table[column.at + k * column.stride] = U[k * r + c];
  }
}

// Packs the core as [lead][tile of rows b][c][b].
template <class T>
void pack_core(const TuckerEval<T>& p, const Layout<T>& l, T* core) {
  set_zero(core, l.core_size());
  InterruptCheck check;
  for (int64_t a = 0; a < l.lead; ++a)
    for (int64_t b = 0; b < l.rb; ++b, check(double(l.rc)))
      for (int64_t c = 0; c < l.rc; ++c)
        core[(a * l.rb_padded + b / kRows * kRows) * l.rc + c * kRows + b % kRows] = p.core[(a * l.rb + b) * l.rc + c];
}

template <class T>
struct Packed : Layout<T> {
  Scratch<T> table, core;
  mutable T* cells = nullptr;  // the tables as cells (cells.hpp), computed when a call first needs them

  Packed(const TuckerEval<T>& p, int64_t pad) : Layout<T>(p, pad), table(this->tables), core(this->core_size()) {
    for (int k = 0; k < p.d && !p.dense; ++k)
      pack_factor(p.factors[k], p.n[k], p.r[k], this->rows[k], this->columns[k], table + this->table_at[k]);
    pack_core<T>(p, *this, core);
  }
  ~Packed() { release(cells); }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
};

// README (9): packs (k + 1) c_{k+1} of the columns of one axis, for both derivatives of its functions.
template <class T>
void pack_slopes(const T* table, int64_t rows, int64_t columns, T* slopes) {
  InterruptCheck check;
  for (int64_t c = 0; c < columns; ++c, check(double(rows))) {
    const Column column(c, rows, columns);
    const T* from = table + column.at;
    T* to = slopes + column.at;
    for (int64_t i = 0; i + 1 < rows; ++i) to[i * column.stride] = T(i + 1) * from[(i + 1) * column.stride];
    to[(rows - 1) * column.stride] = 0;
  }
}
template <class T>
void pack_slopes(const Packed<T>& g, T* slopes) {
  for (int k = 0; k < g.d; ++k)
    if (g.rows[k] > 0) pack_slopes<T>(g.table + g.table_at[k], g.rows[k], g.columns[k], slopes + g.table_at[k]);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
