// Merges walks' values into the dyadic nodes of their range on a GPU: README (5), (6). Each lane of a warp merges one unit, level by level.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int kThreads = 128;

inline int64_t blocks_of(int64_t threads) { return (threads + kThreads - 1) / kThreads; }
__device__ __forceinline__ int64_t thread_here() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }
__device__ __forceinline__ int64_t threads_here() { return int64_t(gridDim.x) * kThreads; }

// Units of `size` samples that cover the range [begin, end) of every row and channel. Unit j starts at sample j size; its (mean, m2) are
// stored at (row, channel, j - begin / size). Single samples are read from the walks' values.
struct Units {
  int64_t begin, end, size;
  double* mean;
  double* m2;
  QF_HD int64_t base() const { return begin / size; }
  QF_HD int64_t count() const { return (end + size - 1) / size - base(); }
};
struct Samples {  // the samples of a row
  int64_t first, end;
  QF_HD bool has(int64_t unit, int64_t size) const { return unit * size >= first && (unit + 1) * size <= end; }
};

__global__ void __launch_bounds__(kThreads, 1) put_starts(const float* from, const int64_t n, double* to) {
  QF_ROLLED
  for (int64_t at = thread_here(); at < n; at += threads_here()) to[at] = double(from[at]);
}
// The same walks with starts in double precision. Kernels that depend on T only through the starts are compiled once.
template <class T>
class Doubled {
 public:
  explicit Doubled(const Walk<T>& p)
      : starts_(std::is_same<T, double>::value ? 0 : p.B * p.N * p.dimension), task_{p, nullptr, nullptr, nullptr} {
    const int64_t n = p.B * p.N * p.dimension;
    if constexpr (std::is_same<T, double>::value) {
      task_.start = p.start;
    } else {
      task_.start = starts_;
      launch(put_starts, blocks_of(n), kThreads, 0, p.start, n, starts_);
    }
  }
  const Walk<double>& operator*() const { return task_; }

 private:
  const Workspace<double> starts_;
  Walk<double> task_;
};

// Writes a node of a row and channel; NaN if no walk starts there.
__device__ __forceinline__ void put_node(const Walk<double>& p, const Samples& all, int64_t row, int channel, int64_t begin, double mean,
                                         double m2) {
  int64_t at = all.first, node = 0;
  for (; at < begin; ++node) at += node_size(at, all.end);
  const double start = p.start[(p.nrhs == 1 ? row : row % p.N) * p.dimension];
  const int64_t to = (row * p.nodes() + node) * p.channels() + channel;
  p.mean[to] = start == start ? mean : __builtin_nan("");
  p.m2[to] = start == start ? m2 : __builtin_nan("");
}

// (5), (6) Merges one level: a warp merges kWarp units of `from`, read once, into one of `to`. Units without a parent are nodes.
__global__ void __launch_bounds__(kThreads, 1) merge_units(const Walk<double> p, const Samples all, const int64_t first_row,
                                                           const int64_t rows, const Units from, const Units to, const double* values) {
  const int channels = p.channels(), group = p.group(), lane = threadIdx.x % kWarp;
  const int64_t base = from.begin / to.size, groups = (from.end + to.size - 1) / to.size - base, count = from.count();
  QF_ROLLED
  for (int64_t at = thread_here() / kWarp; at < rows * channels * groups; at += threads_here() / kWarp) {
    const int64_t row = at / groups / channels, unit = (base + at % groups) * kWarp + lane;
    const int channel = int(at / groups % channels);
    double mean = 0, m2 = 0;
    if (all.has(unit, from.size) && unit * from.size >= from.begin && (unit + 1) * from.size <= from.end) {
      const int64_t here = (row * channels + channel) * count + unit - from.base();
      if (!values) {
        mean = from.mean[here], m2 = from.m2[here];
      } else {
        const double* const v = values + ((channel * rows + row) * (from.end - from.begin) + unit - from.begin) * group;
        mean = group == 1 ? v[0] : (v[0] + v[1]) * 0.5;
      }
    }
    int64_t size = from.size;
    QF_ROLLED
    for (int by = 1; by <= kWarp; by *= 2, size *= 2) {
      const int64_t index = unit / by;
      const bool mine = lane % by == 0 && all.has(index, size) && index * size >= from.begin && index * size < from.end;
      const bool goes_on = all.has(index / 2, 2 * size);
      if (mine && !goes_on && (by > 1 || values)) put_node(p, all, first_row + row, channel, index * size, mean, m2);
      if (by == kWarp) {
        if (mine && goes_on) to.mean[(row * channels + channel) * to.count() + index - to.base()] = mean;
        if (mine && goes_on) to.m2[(row * channels + channel) * to.count() + index - to.base()] = m2;
        break;
      }
      const double mean_b = shuffle_xor(mean, by), m2_b = shuffle_xor(m2, by);
      if (goes_on) merge_equal(double(size), mean, m2, mean_b, m2_b);
    }
  }
}

// Memory for the units of a range.
struct UnitsMemory {
  Workspace<double> numbers;
  int64_t begin, end, size, total;
  UnitsMemory(int64_t rows, int64_t begin, int64_t end, int64_t size)
      : numbers(2 * rows * Units{begin, end, size, nullptr, nullptr}.count()),
        begin(begin),
        end(end),
        size(size),
        total(rows * Units{begin, end, size, nullptr, nullptr}.count()) {}
  Units units() const { return {begin, end, size, numbers, numbers + total}; }
};

inline void merge_level(const Walk<double>& p, const Samples& all, int64_t first_row, int64_t rows, const Units& from, const Units& to,
                        const double* values) {
  const int64_t groups = (from.end + to.size - 1) / to.size - from.begin / to.size;
  launch(merge_units, blocks_of(rows * p.channels() * groups * kWarp), kThreads, 0, p, all, first_row, rows, from, to, values);
}

// Merges units of `from` into those of `last`, level by level.
inline void merge_up(const Walk<double>& p, const Samples& all, int64_t first_row, int64_t rows, Units from, const Units& last,
                     const double* values) {
  if (from.size * kWarp >= last.size) return merge_level(p, all, first_row, rows, from, last, values);
  const UnitsMemory memory(rows * p.channels(), from.begin, from.end, from.size * kWarp);
  merge_level(p, all, first_row, rows, from, memory.units(), values);
  merge_up(p, all, first_row, rows, memory.units(), last, nullptr);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
