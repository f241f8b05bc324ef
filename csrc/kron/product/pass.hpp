// One pass over memory: a group of neighbouring stages applied to slabs that stay in cache.
#pragma once
#include "core/run/cost.hpp"
#include "kron/product/multiply.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kFlatBytes = 16 << 10;      // a slab in L1 goes through its stages one by one; a larger one part by part
constexpr int64_t kLastRowsBytes = 48 << 10;  // rows of a lone last axis that are taken at a time
// From here on a run has 64 rows: all of the factor goes past each, and comes from L2 or beyond.
constexpr int64_t kLongLast = 256, kLongLastRows = 64;
constexpr int64_t kWideSlabBytes = 64 << 10;  // columns are taken in runs, while the slab stays this small
constexpr double kPassCost = 2;               // times its multiply-adds: a pass packs panels and goes through L2; estimated

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
  // Whether y may be x: every slab is read before it is written. Rows of a lone last axis are not.
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
    int64_t most = 0;
    for (int k = first_; k <= last_; ++k) most = max(most, panel_numbers<T>(stage_[k].n));
    return (most + 63) / 64 * 64;
  }

  // The last axis alone: runs of rows, whatever they belong to.
  void run_rows(int64_t L, const T* x, T* y, int threads) const {
    const Stage<T>& s = stage_[last_];
    const int64_t least = s.n > kLongLast ? kLongLastRows : int64_t(kTileRows);
    const int64_t at_once = max(kLastRowsBytes / int64_t(sizeof(T)) / max(s.n, int64_t(1)) / kTileRows * kTileRows, least);
    const int64_t runs = (L + at_once - 1) / at_once;
    parallel_for(runs, threads, double(at_once) * double(s.m) * double(s.n) * kPassCost * kMultiplyAddNs<T>,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t l = begin * at_once; l < min(L, end * at_once); l += at_once)
                     multiply_last(s, min(at_once, L - l), x + l * s.n, y + l * s.m);
                 });
  }

  // n_from * ... * n_(to - 1), and the same of m.
  int64_t product_n(int from, int to) const {
    int64_t p = 1;
    for (int k = from; k < to; ++k) p *= stage_[k].n;
    return p;
  }
  int64_t product_m(int from, int to) const {
    int64_t p = 1;
    for (int k = from; k < to; ++k) p *= stage_[k].m;
    return p;
  }
  double multiply_adds(int64_t w) const {
    double sum = 0;
    for (int k = first_; k <= last_; ++k) sum += double(product_n(first_, k + 1)) * double(product_m(k, last_ + 1));
    return sum * double(w);
  }
  // The largest array between stages first..last of a slab one column wide.
  int64_t largest(int first) const {
    int64_t most = 0;
    for (int k = first; k <= last_; ++k) most = max(most, product_n(first, k + 1) * product_m(k + 1, last_ + 1));
    return most;
  }
  bool flat(int first, int64_t w) const {
    return first >= last_ - (at_end_ ? 1 : 0)  // the last axis wants many rows at once
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

    // Stages k..last, depth first: all below stage k for one index of axis k after the other, then stage k over the whole.
    // `x` has the caller's row stride R, `y` that of `y_stride`.
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

    // Stages k..last, one after the other, from the last.
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
            multiply<Rest::apart>(stage, x, to, blocks, panel);
          else
            multiply<Rest::overlaps>(stage, x, to, blocks, panel);
        }
        x = to;
      }
    }

    // The rows of the next slab, which no hardware follows over strides like these: into L2, while this one is at work.
    void fetch(const T* x, int64_t rows, int64_t columns) const {
      for (int64_t i = 0; i < rows; ++i) quatrefoil::fetch(x + i * p.R_, columns);
    }

    // Stage k on L blocks of a slab that lies densely; y may have rows further apart, and then L is 1.
    void left(int k, int64_t L, const T* x, T* y, int64_t y_stride) const {
      const Stage<T>& s = p.stage_[k];
      const int64_t rest = p.product_m(k + 1, p.last_ + 1);
      if (y_stride == w)
        multiply<Rest::overlaps>(s, x, y, {L, s.n * rest * w, rest * w, s.m * rest * w, rest * w, rest * w}, panel);
      else
        multiply<Rest::overlaps>(s, x, y, {rest, w, rest * w, y_stride, rest * y_stride, w}, panel);
    }
  };

  const Stage<T>* stage_;
  int first_, last_;
  bool at_end_;
  int64_t R_, N_ = 1, M_ = 1, width_ = 1;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
