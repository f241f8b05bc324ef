// Mode products by tiles, and one pass over memory: a group of neighbouring stages applied to slabs that stay in cache.
#pragma once
#include "core/run/cost.hpp"
#include "kron/product/plan.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kNearBytes = 16 << 10;  // span of rows of B that stays in L1 without packing

// The layout of `count` blocks of B (n x cols) and of the result (m x cols).
struct Blocks {
  int64_t count;
  int64_t b_step, b_stride;  // between blocks, between rows
  int64_t c_step, c_stride;
  int64_t cols;
};

// Elements of workspace that `multiply` needs for sums of n terms.
template <class T>
QF_HD int64_t panel_numbers(int64_t n) {
  return n * kTileVectors * kLanes<T>;
}

// README (1) along an axis with others after it: C = A B, block by block. Reads B once, and from L1 once per panel of A; writes C once per
// block of a long sum. C may be B if `rest` is `narrower`.
template <Rest rest, class T>
void multiply(const Stage<T>& s, const T* b, T* c, const Blocks& q, T* panel) {
  const int64_t depth = block_depth<T>(s.n);
  const bool pack = rest == Rest::narrower || (s.m > kTileRows && s.n * q.b_stride * int64_t(sizeof(T)) > kNearBytes);
  const bool large = s.m * s.n > kLargeLeft;
  for (int64_t l = 0; l < q.count; ++l)
    for_columns<T, rest>(q.cols, [&](auto columns, int64_t j) {
      using V = typename decltype(columns)::Vector;
      const T* from = b + l * q.b_step + j;
      int64_t stride = q.b_stride;
      if (pack) {
        pack_panel<V, columns.vectors>(from, stride, s.n, panel);
        from = panel, stride = columns.count;
      }
      for (int64_t k = 0; k < s.n; k += depth) {
        const int64_t n = min(depth, s.n - k);
        if (large) check_interrupt(double(s.m * n * columns.count) * kMultiplyAddNs<T>);
        tile_column<Left::panels, columns.vectors, V>(s.m, n, s.a + k * s.m, n, from + k * stride, stride, c + l * q.c_step + j, q.c_stride,
                                                      k > 0);
      }
    });
}

// README (1) along the last axis: C (rows x m) = B (rows x n) A^T. Reads A once, B once per three vectors of m, writes C once.
template <class T>
void multiply_last(const Stage<T>& s, int64_t rows, const T* b, T* c) {
  multiply_packed(rows, s.n, s.m, b, s.a, c);
}

constexpr int64_t kFlatBytes = 16 << 10;      // slabs up to this size go through all stages as a whole, larger ones in parts
constexpr int64_t kLastRowsBytes = 48 << 10;  // bytes of rows at a time, if the last axis is the only one of the pass
// Longer sums take at least 64 rows, because each run reads the whole factor from L2 or beyond.
constexpr int64_t kLongLast = 256, kLongLastRows = 64;
constexpr int64_t kWideSlabBytes = 64 << 10;  // largest slab of a run of columns
constexpr double kPassCost = 2;               // relative to multiply-adds: a pass packs panels and goes through L2; estimated

// (L, n_first, ..., n_last, R) -> (L, m_first, ..., m_last, R)
template <class T>
class Pass {
 public:
  Pass(const Stage<T>* stage, int first, int last, bool at_end, int64_t R)
      : stage_(stage), first_(first), last_(last), at_end_(at_end), R_(R) {
    for (int k = first; k <= last; ++k) N_ *= stage[k].n, M_ *= stage[k].m;
    if (at_end) return;
    const int64_t unit = kTileVectors * kLanes<T>;
    int64_t widest = (first == last ? kWideSlabBytes : kFlatBytes) / int64_t(sizeof(T)) / max(max(N_, M_), int64_t(1)) / unit * unit;
    if (widest < unit) widest = unit;
    const int64_t runs = (R + widest - 1) / widest;
    width_ = runs <= 1 ? R : ((R + runs - 1) / runs + unit - 1) / unit * unit;
  }

  int64_t numbers_out() const { return M_ * R_; }
  // Whether y may be x: every slab is read before it is written, unlike the rows of a pass over the last axis alone.
  bool in_place() const { return N_ == M_ && !(at_end_ && first_ == last_); }

  // Reads x once, writes y once; everything between stays in L1 or L2.
  void run(int64_t L, const T* x, T* y, int threads) const {
    if (at_end_ && first_ == last_) return run_rows(L, x, y, threads);
    const int64_t runs = at_end_ ? 1 : (R_ + width_ - 1) / width_;
    parallel_for(L * runs, threads, multiply_adds(width_) * kPassCost * kMultiplyAddNs<T>, [&](int64_t begin, int64_t end) {
      Scratch<T> work(workspace());
      for (int64_t item = begin; item < end; ++item) {
        const int64_t l = item / runs, c = item % runs * width_;
        const Slab slab{*this, at_end_ ? 1 : min(width_, R_ - c), x == y, work};
        slab.nested(first_, x + l * N_ * R_ + c, y + l * M_ * R_ + c, R_, work + panel());
      }
    });
  }

 private:
  int64_t panel() const {
    int64_t largest = 0;
    for (int k = first_; k <= last_; ++k) largest = max(largest, panel_numbers<T>(stage_[k].n));
    return (largest + 63) / 64 * 64;
  }

  // A pass over the last axis alone: runs of rows.
  void run_rows(int64_t L, const T* x, T* y, int threads) const {
    const Stage<T>& s = stage_[last_];
    const int64_t min_rows = s.n > kLongLast ? kLongLastRows : int64_t(kTileRows);
    const int64_t at_once = max(kLastRowsBytes / int64_t(sizeof(T)) / max(s.n, int64_t(1)) / kTileRows * kTileRows, min_rows);
    const int64_t runs = (L + at_once - 1) / at_once;
    parallel_for(runs, threads, double(at_once) * double(s.m) * double(s.n) * kPassCost * kMultiplyAddNs<T>,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t l = begin * at_once; l < min(L, end * at_once); l += at_once)
                     multiply_last(s, min(at_once, L - l), x + l * s.n, y + l * s.m);
                 });
  }

  // n_from * ... * n_(to - 1), and the same for m.
  int64_t product_n(int from, int to) const { return product(&Stage<T>::n, from, to); }
  int64_t product_m(int from, int to) const { return product(&Stage<T>::m, from, to); }
  int64_t product(int64_t Stage<T>::* size, int from, int to) const {
    int64_t p = 1;
    for (int k = from; k < to; ++k) p *= stage_[k].*size;
    return p;
  }
  double multiply_adds(int64_t w) const {
    double sum = 0;
    for (int k = first_; k <= last_; ++k) sum += double(product_n(first_, k + 1)) * double(product_m(k, last_ + 1));
    return sum * double(w);
  }
  // The largest array between stages first..last of a slab one column wide.
  int64_t largest(int first) const {
    int64_t largest = 0;
    for (int k = first; k <= last_; ++k) largest = max(largest, product_n(first, k + 1) * product_m(k + 1, last_ + 1));
    return largest;
  }
  bool flat(int first, int64_t w) const {
    return first >= last_ - (at_end_ ? 1 : 0)  // the last axis needs many rows at a time
           || largest(first) * w * int64_t(sizeof(T)) <= kFlatBytes;
  }
  int64_t workspace() const {
    int64_t numbers = panel();
    int k = first_;
    for (; !flat(k, width_); ++k) numbers += stage_[k].n * product_m(k + 1, last_ + 1) * width_;
    return numbers + 2 * largest(k) * width_;
  }

  // w columns of one item.
  struct Slab {
    const Pass& p;
    int64_t w;
    bool in_place;
    T* panel;

    // Applies stages k..last, depth first: later stages for each index of axis k, then stage k on the whole slab. The row stride of x is R.
    void nested(int k, const T* x, T* y, int64_t y_stride, T* work) const {
      if (p.flat(k, p.width_)) {
        check_interrupt(double(p.largest(k) * w));
        return flat(k, x, y, y_stride, work);
      }
      const int64_t below_n = p.product_n(k + 1, p.last_ + 1) * p.R_, below_m = p.product_m(k + 1, p.last_ + 1) * w;
      T* const parts = work;
      work += p.stage_[k].n * below_m;
      for (int64_t i = 0; i < p.stage_[k].n; ++i) nested(k + 1, x + i * below_n, parts + i * below_m, w, work);
      left(k, 1, parts, y, y_stride);
    }

    // Applies stages k..last, one after another, starting with the last.
    void flat(int k, const T* x, T* y, int64_t y_stride, T* work) const {
      const int last = p.last_;
      T* const spare = work + p.largest(k) * w;
      for (int s = last; s >= k; --s) {
        const int64_t L = p.product_n(k, s);
        T* const to = s == k ? y : (last - s) % 2 ? spare : work;
        const int64_t stride = s == k ? y_stride : w;
        const Stage<T>& stage = p.stage_[s];
        if (s < last)
          left(s, L, x, to, stride);
        else if (p.at_end_) {
          fetch(x + L * stage.n, 1, L * stage.n);
          multiply_last(stage, L, x, to);
        } else {
          fetch(x + w, L * stage.n, w);
          const Blocks blocks{L, stage.n * p.R_, p.R_, stage.m * stride, stride, w};
          if (in_place && s == k)
            multiply<Rest::narrower>(stage, x, to, blocks, panel);
          else
            multiply<Rest::overlapping>(stage, x, to, blocks, panel);
        }
        x = to;
      }
    }

    // Prefetches the rows of the next slab into L2, because the hardware does not follow such strides.
    void fetch(const T* x, int64_t rows, int64_t columns) const {
      for (int64_t i = 0; i < rows; ++i) quatrefoil::fetch(x + i * p.R_, columns);
    }

    // Applies stage k to L blocks of a contiguous slab; y may have a larger row stride if L is 1.
    void left(int k, int64_t L, const T* x, T* y, int64_t y_stride) const {
      const Stage<T>& s = p.stage_[k];
      const int64_t rest = p.product_m(k + 1, p.last_ + 1);
      if (y_stride == w)
        multiply<Rest::overlapping>(s, x, y, {L, s.n * rest * w, rest * w, s.m * rest * w, rest * w, rest * w}, panel);
      else
        multiply<Rest::overlapping>(s, x, y, {rest, w, rest * w, y_stride, rest * y_stride, w}, panel);
    }
  };

  const Stage<T>* stage_;
  int first_, last_;
  bool at_end_;
  int64_t R_, N_ = 1, M_ = 1, width_ = 1;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
