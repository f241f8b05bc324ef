// Exact queries of one polygon in double precision: a sweep over its segments.
#pragma once
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// Odd crossing number; points of the boundary may count as either.
inline bool inside(const Segments& segments, double x, double y) {
  const double* const s = segments.ends;
  int crossings = 0;
#pragma omp simd reduction(+ : crossings)
  for (int64_t k = 0; k < segments.M; ++k) {
    const double ax = s[4 * k], ay = s[4 * k + 1], bx = s[4 * k + 2], by = s[4 * k + 3];
    const double side = (bx - ax) * (y - ay) - (x - ax) * (by - ay);  // of the line, whose direction is up where by > ay
    crossings += ((ay <= y) & (y < by) & (side > 0)) | ((by <= y) & (y < ay) & (side < 0));
  }
  return crossings & 1;
}

// The distance of (x, y), and the closest point.
inline double closest(const Segments& segments, double x, double y, double (&at)[2]) {
  const double* const s = segments.ends;
  double best = 1e300, place = 0;
  int64_t segment = 0;
  for (int64_t k = 0; k < segments.M; ++k) {
    const double ax = s[4 * k], ay = s[4 * k + 1], ex = s[4 * k + 2] - ax, ey = s[4 * k + 3] - ay;
    double t;
    const double d2 = segment_distance2(x, y, ax, ay, ex, ey, 1 / (ex * ex + ey * ey), t);
    if (d2 < best) best = d2, place = t, segment = k;
  }
  for (int j = 0; j < 2; ++j) at[j] = s[4 * segment + j] + place * (s[4 * segment + 2 + j] - s[4 * segment + j]);
  return square_root(best);
}

// A point inside, or within epsilon outside, which moves to the closest point of the boundary; false for others.
inline bool keep_in_polygon(const Segments& segments, double epsilon, double* x) {
  if (inside(segments, x[0], x[1])) return true;
  double at[2];
  if (!(closest(segments, x[0], x[1], at) <= epsilon)) return false;
  x[0] = at[0], x[1] = at[1];
  return true;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
