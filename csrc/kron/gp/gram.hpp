// Sums of products of an array with itself over all axes except one. Packs and reads x once, and computes only the upper triangle.
#pragma once
#include "core/run/cost.hpp"
#include "core/run/partial_sums.hpp"
#include "kron/gp/args.hpp"
#include "kron/product/pack.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

constexpr int64_t kGramPairs = 128;    // packed at a time; three SIMD vectors of each take at most 24 KiB and stay in L1
constexpr double kGramPartWork = 8e6;  // minimum multiply-adds per part
constexpr int64_t kGramParts = 16;     // enough for many threads, but quick to add up
constexpr double kGramCost = 1.5;      // time divided by that of the multiply-adds alone, due to packing and updates of the sums; estimated

// Vectors x_(l,r) of length n in panels of kTileRows elements each, the last one padded with zeros, and sums of their products.
class GramPart {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  // `panels` has room for kGramPairs * padded(n) elements, `sum` for padded(n)^2.
  GramPart(const Gram& q, double* panels, double* sum) : x_{q.x, q.n, q.R}, n_(q.n), padded_(padded(q.n)), panels_(panels), sum_(sum) {}

  static int64_t padded(int64_t n) { return round_up(n, int64_t(kTileRows)); }

  // Computes the upper triangle of the sum over pairs [begin, end), and some entries below it.
  void run(int64_t begin, int64_t end) {
    set_zero(sum_, padded_ * padded_);
    for (int64_t first = begin; first < end; first += kGramPairs) {
      const int64_t count = min(kGramPairs, end - first);
      check_interrupt(double(count * padded_) * double(padded_) * kGramCost * kMultiplyAddNs<double> / 2);
      pack(first, count);
      int64_t j = 0;
      for (; padded_ - j >= 3 * W && padded_ - j != 4 * W; j += 3 * W) strip<3>(count, j);
      for (; padded_ - j >= 2 * W; j += 2 * W) strip<2>(count, j);
      if (padded_ - j >= W) strip<1>(count, j);
    }
  }

 private:
  void pack(int64_t first, int64_t count) {
    int64_t j = 0;
    for (; j + kTileRows <= n_; j += kTileRows) product::pack_pairs<kTileRows>(x_, j, first, count, panels_ + j * count);
    if (j < n_) pack_rest(j, first, count, panels_ + j * count);
  }
  void pack_rest(int64_t j, int64_t first, int64_t count, double* to) {
    int64_t l = first / x_.R, r = first % x_.R;
    for (int64_t q = 0; q < count; ++q, to += kTileRows) {
      for (int64_t c = 0; c < kTileRows; ++c) to[c] = j + c < n_ ? x_.data[(l * n_ + j + c) * x_.R + r] : 0;
      if (++r == x_.R) ++l, r = 0;
    }
  }
  // Elements j, j + 1, ... of the vectors, in the panels.
  const double* vector(int64_t j, int64_t count) const { return panels_ + j / kTileRows * kTileRows * count + j % kTileRows; }

  // Adds to NV vectors of columns, in the rows down to the diagonal.
  template <int NV>
  void strip(int64_t count, int64_t j) {
    const double* right[NV];
    for (int v = 0; v < NV; ++v) right[v] = vector(j + v * W, count);
    for (int64_t i = 0; i < j + NV * W; i += kTileRows) tile<NV>(count, panels_ + i * count, right, sum_ + i * padded_ + j);
  }
  template <int NV>
  void tile(int64_t count, const double* left, const double* const* right, double* to) const {
    V sum[kTileRows][NV];
    clear(sum);
    for (int64_t k = 0; k < count; ++k) {
      V x[NV];
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) x[v] = load<V>(right[v] + k * kTileRows);
#pragma GCC unroll 8
      for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 3
        for (int v = 0; v < NV; ++v) sum[i][v] = multiply_add(broadcast<V>(left[k * kTileRows + i]), x[v], sum[i][v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        double* const at = to + i * padded_ + v * W;
        store(at, V(load<V>(at) + sum[i][v]));
      }
  }

  product::Pairs<double> x_;
  int64_t n_, padded_;
  double *panels_, *sum_;
};

// Parts depend only on the sizes and are added in order.
inline void gram(const Gram& q) {
  const int64_t pairs = q.L * q.R, padded = GramPart::padded(q.n), size = padded * padded;
  if (q.n == 0) return;
  const double work = double(pairs) * double(q.n) * double(q.n) / 2;
  const int64_t max_parts = max(min(kGramParts, pairs / padded), int64_t(1));  // several parts take at most the memory of the padded x
  const int64_t parts = max(min(max_parts, int64_t(work / kGramPartWork)), int64_t(1));
  const Scratch<double> sums((parts + 1) * size);
  double* const total = static_cast<double*>(sums) + parts * size;
  parallel_for(parts, q.threads, work / double(parts) * kGramCost * kMultiplyAddNs<double>, [&](int64_t begin, int64_t end) {
    const Scratch<double> panels(kGramPairs * padded);
    for (int64_t part = begin; part < end; ++part)
      GramPart(q, panels, static_cast<double*>(sums) + part * size).run(pairs * part / parts, pairs * (part + 1) / parts);
  });
  set_zero(total, size);
  add_parts<double>(parts, sums, size, size, total);
  for (int64_t i = 0; i < q.n; ++i)
    for (int64_t j = i; j < q.n; ++j) q.gram[i * q.n + j] = q.gram[j * q.n + i] = total[i * padded + j];
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
