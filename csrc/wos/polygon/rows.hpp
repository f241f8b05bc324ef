// Tests many starts of walks in one polygon, in double precision, each against the segments of its row only.
#pragma once
#include "core/run/memory.hpp"
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// Groups segments by the horizontal rows of the box that they reach. A segment that meets a point's horizontal line reaches the point's
// row, because the row index never decreases as y grows, even after rounding. So results are the same as for a loop over all segments.
class Rows {
 public:
  explicit Rows(const Segments& segments) : segments_(segments), count_(rows_of(segments)), first_(count_ + 2), reach_(entries()) {
    int64_t* const at = first_ + 1;  // index of a row's next segment; at the end, the start of the next row
    for (int64_t r = 0, sum = 0; r <= count_; ++r) {
      const int64_t n = at[r];
      at[r] = sum;
      sum += n;
    }
    for (int64_t k = 0; k < segments.M; ++k)
      for (int64_t r = low(k); r <= high(k); ++r) reach_[at[r]++] = std::int32_t(k);
  }

  // Whether the crossing number is odd. Points on the boundary may be treated as inside or outside.
  bool inside(double x, double y) const {
    const int64_t r = row(y, count_);
    int crossings = 0;
    for (int64_t i = first_[r]; i < first_[r + 1]; ++i) {
      const double* const s = segments_.ends + 4 * int64_t(reach_[i]);
      crossings += crosses(x, y, s[0], s[1], s[2], s[3]);
    }
    return crossings & 1;
  }
  // Whether a walk may start at x. Moves x onto the boundary if it is beyond it by at most epsilon. `outside`: the domain is the exterior.
  bool keep(bool outside, double epsilon, double* x) const {
    if (inside(x[0], x[1]) != outside) return true;
    double best = epsilon * epsilon, nearest_t = 0;
    int64_t segment = -1;
    for (int64_t i = first_[row(x[1] - epsilon, count_)]; i < first_[row(x[1] + epsilon, count_) + 1]; ++i) {
      const double* const s = segments_.ends + 4 * int64_t(reach_[i]);
      const double ex = s[2] - s[0], ey = s[3] - s[1];
      double t;
      const double d2 = segment_distance2(x[0], x[1], s[0], s[1], ex, ey, 1 / (ex * ex + ey * ey), t);
      if (d2 < best || (d2 == best && (segment < 0 || reach_[i] < segment))) best = d2, nearest_t = t, segment = reach_[i];
    }
    if (segment < 0) return false;
    const double* const s = segments_.ends + 4 * segment;
    for (int j = 0; j < 2; ++j) x[j] = s[j] + nearest_t * (s[2 + j] - s[j]);
    return true;
  }

 private:
  static int64_t row(double y, int64_t count) {
    const double r = (y + 0.5) * double(count);
    return r > 0 ? r < double(count) ? int64_t(r) : count - 1 : 0;
  }
  int64_t low(int64_t k) const { return row(min(segments_.ends[4 * k + 1], segments_.ends[4 * k + 3]), count_); }
  int64_t high(int64_t k) const { return row(max(segments_.ends[4 * k + 1], segments_.ends[4 * k + 3]), count_); }
  // A quarter of the number of segments; fewer if their average height would exceed six rows.
  static int64_t rows_of(const Segments& segments) {
    double height = 0;
    for (int64_t k = 0; k < segments.M; ++k) {
      const double rise = segments.ends[4 * k + 3] - segments.ends[4 * k + 1];
      height += rise < 0 ? -rise : rise;
    }
    return max<int64_t>(1, min<int64_t>(segments.M / 4, int64_t(double(6 * segments.M) / height)));
  }
  // Counts the segments of row r in first_[r + 1]. Returns the sum.
  int64_t entries() {
    for (int64_t r = 0; r < count_ + 2; ++r) first_[r] = 0;
    int64_t sum = 0;
    for (int64_t k = 0; k < segments_.M; ++k)
      for (int64_t r = low(k); r <= high(k); ++r) ++first_[r + 1], ++sum;
    return sum;
  }

  const Segments segments_;
  const int64_t count_;
  Scratch<int64_t> first_;       // (count + 2,)
  Scratch<std::int32_t> reach_;  // the segments of row 0, of row 1, ...
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
