// Exact queries of one polygon in double precision: a loop over its segments.
#pragma once
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// Whether the crossing number is odd. Points on the boundary may be treated as inside or outside.
inline bool inside(const Segments& segments, double x, double y) {
  const double* const s = segments.ends;
  int crossings = 0;
#pragma omp simd reduction(+ : crossings)
  for (int64_t k = 0; k < segments.M; ++k) crossings += crosses(x, y, s[4 * k], s[4 * k + 1], s[4 * k + 2], s[4 * k + 3]);
  return crossings & 1;
}

// Returns the distance from (x, y), and writes the closest segment (the first one if tied) and the position on it. Processes `kSweep`
// segments at a time and buffers their distances.
inline double closest(const Segments& segments, double x, double y, int64_t& segment, double& position) {
  constexpr int64_t kSweep = 128;
  const double* const s = segments.ends;
  double best = 1e300, d2[kSweep];
  segment = 0;
  const auto distance2 = [&](int64_t k, double& t) {
    const double ax = s[4 * k], ay = s[4 * k + 1], ex = s[4 * k + 2] - ax, ey = s[4 * k + 3] - ay;
    return segment_distance2(x, y, ax, ay, ex, ey, 1 / (ex * ex + ey * ey), t);
  };
  for (int64_t first = 0; first < segments.M; first += kSweep) {
    const int64_t n = min(kSweep, segments.M - first);
    double min_d2 = 1e300;
#pragma omp simd reduction(min : min_d2)
    for (int64_t k = 0; k < n; ++k) {
      double t;
      d2[k] = distance2(first + k, t);
      min_d2 = d2[k] < min_d2 ? d2[k] : min_d2;
    }
    if (!(min_d2 < best)) continue;
    best = min_d2;
    for (int64_t k = n - 1; k >= 0; --k)
      if (d2[k] <= min_d2) segment = first + k;
  }
  return square_root(distance2(segment, position));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
