// Sources sorted by the cells of a grid, so that those near a point are a few contiguous runs.
#pragma once
#include "cheb/particles/args.hpp"
#include "core/lanes/lanes.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

constexpr double kSlack = 1e-6;                  // fraction of the cutoff, for rounding errors of cell boundaries
constexpr double kPerCell = 0.25;                // minimum sources per cell: more cells would cost more than they save
constexpr double kEdges[3] = {0.5, 0.5, 0.125};  // fractions of the cutoff; cells along the last axis are contiguous and cost least
constexpr double kLargest = 1e150;               // an axis with a larger extent, whose square may overflow, is one cell
constexpr double kSortNs = 10;                   // per sorted point

// A grid of cells over a set of points. Coordinates are relative to its corner, in double precision.
template <class T>
class Cells {
 public:
  Cells(const T* points, int64_t count, double cutoff) : reach_(cutoff * (1 + kSlack)) {
    double extent[3];
    for (int k = 0; k < 3; ++k) {
      double lo = double(points[k]), hi = lo;
      InterruptCheck check;
      for (int64_t i = 0; i < count; ++i, check(1)) lo = min(lo, double(points[3 * i + k])), hi = max(hi, double(points[3 * i + k]));
      corner_[k] = lo, extent[k] = hi - lo;
    }
    const double max_cells = max(1.0, double(count) / kPerCell);
    double edge = cutoff, cells = 0;
    do {
      cells = 1;
      for (int k = 0; k < 3; ++k) cells *= cells_along(extent[k], edge * kEdges[k]);
      edge *= 1.25;
    } while (cells > max_cells);
    for (int k = 0; k < 3; ++k) {
      cells_[k] = int64_t(cells_along(extent[k], edge / 1.25 * kEdges[k]));
      edge_[k] = extent[k] / double(cells_[k]);
      per_length_[k] = cells_[k] > 1 ? 1 / edge_[k] : 0;
    }
  }
  int64_t count() const { return cells_[0] * cells_[1] * cells_[2]; }

  // Sorts points by cell, in input order within a cell; writes the start of each cell.
  void sort(const T* points, int64_t count, int64_t* order, int64_t* start) const {
    const Scratch<int64_t> cell(count);
    set_zero<int64_t>(start, this->count() + 1);
    in_parts(0, count, kSortNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        cell[i] = 0;
        for (int k = 0; k < 3; ++k) cell[i] = cell[i] * cells_[k] + index(k, double(points[3 * i + k]) - corner_[k]);
        ++start[cell[i] + 1];
      }
    });
    for (int64_t i = 0; i < this->count(); ++i) start[i + 1] += start[i];
    in_parts(0, count, kSortNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) order[start[cell[i]]++] = i;
    });
    for (int64_t i = this->count(); i > 0; --i) start[i] = start[i - 1];
    start[0] = 0;
  }

  // Calls f(first, last), last included, for runs of cells that contain all sources within the cutoff of a point.
  template <class F>
  void near(const T* point, F&& f) const {
    double at[3];
    for (int k = 0; k < 3; ++k) at[k] = double(point[k]) - corner_[k];
    const double square = reach_ * reach_;
    const int64_t a_last = index(0, at[0] + reach_), b_last = index(1, at[1] + reach_);
    for (int64_t a = index(0, at[0] - reach_); a <= a_last; ++a) {
      const double left = square - to_slab(0, a, at[0]);
      for (int64_t b = index(1, at[1] - reach_); b <= b_last; ++b) {
        const double rest = left - to_slab(1, b, at[1]);
        if (rest < 0) continue;
        const double half = square_root(rest);
        const int64_t row = (a * cells_[1] + b) * cells_[2];
        f(row + index(2, at[2] - half), row + index(2, at[2] + half));
      }
    }
  }

 private:
  static double cells_along(double extent, double edge) {
    return extent < kLargest && extent >= 2 * edge ? __builtin_floor(extent / edge) : 1;
  }
  // The cell along axis k; the first cell for NaN, which results from an infinite extent.
  int64_t index(int k, double at) const {
    const double cell = at * per_length_[k];
    return cell >= double(cells_[k]) ? cells_[k] - 1 : cell > 0 ? int64_t(cell) : 0;
  }
  // The squared distance along axis k from a coordinate to a cell; outer cells are unbounded.
  double to_slab(int k, int64_t cell, double at) const {
    double far = 0;
    if (cell > 0) far = max(far, double(cell) * edge_[k] - at);
    if (cell < cells_[k] - 1) far = max(far, at - double(cell + 1) * edge_[k]);
    return far * far;
  }

  double reach_, corner_[3], edge_[3], per_length_[3];
  int64_t cells_[3];
};

// Sorted sources with weights, one array per coordinate, padded by one vector.
template <class T>
class Sources : public Cells<T> {
 public:
  Sources(const T* points, const T* weights, int64_t count, double cutoff)
      : Cells<T>(points, count, cutoff), stride_(count + kLanes<T>), numbers_(4 * stride_), start_(this->Cells<T>::count() + 1) {
    const Scratch<int64_t> order(count);
    this->sort(points, count, order, start_);
    set_zero<T>(numbers_, 4 * stride_);
    in_parts(0, count, kSortNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int k = 0; k < 3; ++k) numbers_[k * stride_ + i] = points[3 * order[i] + k];
        numbers_[3 * stride_ + i] = weights[order[i]];
      }
    });
  }
  const T* coordinate(int k) const { return numbers_ + k * stride_; }
  const T* weight() const { return numbers_ + 3 * stride_; }
  const int64_t* start() const { return start_; }

 private:
  int64_t stride_;
  Scratch<T> numbers_;
  Scratch<int64_t> start_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
