// (5) Gradients of the factors: sums of g x over all axes but one.
#pragma once
#include "core/run/cost.hpp"
#include "core/run/partial_sums.hpp"
#include "kron/product/plan.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kPairs = 128;        // summed in the type of the data before they are added in double
constexpr int64_t kGradientRows = 64;  // of a factor's gradient per task
constexpr int64_t kMaxParts = 16;      // of a long sum: enough for many threads, but quick to add up
constexpr double kPartWork = 4e6;      // minimum multiply-adds per part
constexpr double kGramCost = 3;        // relative to multiply-adds: pairs are transposed and sums widened; estimated

// sum[i, j] += the sum over pairs [first, end) of g_i x_j, for rows [i0, i1). Reads g and x once.
template <class T>
void gram_rows(const Pairs<T>& g, const Pairs<T>& x, int64_t first, int64_t end, int64_t i0, int64_t i1, double* sum) {
  const int64_t rows = i1 - i0;
  Scratch<T> work(kPairs * (kGradientRows + kTileVectors * kLanes<T>)+kGradientRows * kTileVectors * kLanes<T>);
  T *const left = work, *const right = work + kPairs * kGradientRows, *const block = right + kPairs * kTileVectors * kLanes<T>;
  for (int64_t q = first; q < end; q += kPairs) {
    const int64_t n = min(kPairs, end - q);
    check_interrupt(double(n * rows) * double(x.n) * kGramCost * kMultiplyAddNs<T>);
    for_panels(rows, [&](auto panel, int64_t i) { pack_pairs<panel.value>(g, i0 + i, q, n, left + i * n); });
    int64_t done = 0;  // skips overlapping columns
    for_columns<T>(x.n, [&](auto columns, int64_t j) {
      pack_pairs<columns.count>(x, j, q, n, right);
      tile_column<Left::panels, columns.vectors, typename decltype(columns)::Vector>(rows, n, left, n, right, columns.count, block,
                                                                                     columns.count, false);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t c = done - j; c < columns.count; ++c) sum[i * x.n + j + c] += double(block[i * columns.count + c]);
      done = j + columns.count;
    });
  }
}

// sum (m x n, doubles) += the sum over pairs of g (L, m, R) and x (L, n, R), in parts that depend only on the sizes and are added in order.
template <class T>
void gram(const Pairs<T>& g, const Pairs<T>& x, int64_t pairs, double* sum, int threads) {
  const int64_t m = g.n, n = x.n;
  const double work = double(m) * double(n) * double(pairs);
  const int64_t max_parts = max(min(kMaxParts, pairs / m), int64_t(1));  // sums take at most the memory of x
  const int64_t parts = max(min(max_parts, int64_t(work / kPartWork)), int64_t(1)), cuts = (m + kGradientRows - 1) / kGradientRows;
  Scratch<double> partial(parts * m * n);
  parallel_for(parts * cuts, threads, work / double(parts * cuts) * kGramCost * kMultiplyAddNs<T>, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t part = item / cuts, i0 = item % cuts * kGradientRows, i1 = min(m, i0 + kGradientRows);
      double* const to = partial + (part * m + i0) * n;
      set_zero(to, (i1 - i0) * n);
      gram_rows(g, x, pairs * part / parts, pairs * (part + 1) / parts, i0, i1, to);
    }
  });
  add_parts<double>(parts, partial, m * n, m * n, sum);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
