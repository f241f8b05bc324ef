// The grids of polygons, and exact queries. Compiled once per instruction set.
#include "core/lanes/lanes.hpp"
#include "core/run/parallel.hpp"
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"
#include "wos/polygon/grid.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// Crossing number in float64, and the closest segment where it is asked for: a sweep over the segments a point.
void locate(const Locate& p) {
  const double* const s = p.segments.ends;
  const int64_t M = p.segments.M;
  parallel_for(p.N, p.threads, double(M) * (p.distance ? 4 : 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double x = p.points[2 * i], y = p.points[2 * i + 1];
      int crossings = 0;
#pragma omp simd reduction(+ : crossings)
      for (int64_t k = 0; k < M; ++k) {
        const double ax = s[4 * k], ay = s[4 * k + 1], bx = s[4 * k + 2], by = s[4 * k + 3];
        const double side = (bx - ax) * (y - ay) - (x - ax) * (by - ay);  // of the line, whose direction is up where by > ay
        crossings += ((ay <= y) & (y < by) & (side > 0)) | ((by <= y) & (y < ay) & (side < 0));
      }
      p.inside[i] = std::uint8_t(crossings & 1);
      if (!p.distance) continue;
      double best = 1e300, place = 0;
      int64_t closest = 0;
      for (int64_t k = 0; k < M; ++k) {
        const double ax = s[4 * k], ay = s[4 * k + 1], ex = s[4 * k + 2] - ax, ey = s[4 * k + 3] - ay;
        double t;
        const double d2 = segment_distance2(x, y, ax, ay, ex, ey, 1 / (ex * ex + ey * ey), t);
        if (d2 < best) best = d2, place = t, closest = k;
      }
      p.distance[i] = square_root(best);
      for (int j = 0; j < 2; ++j) p.closest[2 * i + j] = s[4 * closest + j] + place * (s[4 * closest + 2 + j] - s[4 * closest + j]);
      if (p.place) p.place[i] = place;
      if (p.primitive) p.primitive[i] = closest;
    }
  });
}

template <class T>
void bounds(const Grid<T>& grid, const T* points, int64_t n, T* radius, int64_t* primitive) {
  using V = Lanes<T>;
  using I = Bits<V>;
  constexpr int W = kLanes<T>;
  const Polygon<V> domain(grid);
  for (int64_t i = 0; i < n; i += W) {
    V x[2] = {};
    for (int l = 0; l < W && i + l < n; ++l) x[0][l] = points[2 * (i + l)], x[1][l] = points[2 * (i + l) + 1];
    const Seen<V> seen = domain.look(x, I{} - 1);
    for (int l = 0; l < W && i + l < n; ++l) radius[i + l] = seen.radius[l], primitive[i + l] = seen.primitive[l];
  }
}

template <class T>
constexpr Kernels<T> kKernels = {build_grids<T>, free_grid<T>, bounds<T>};

extern const Table kernels;
const Table kernels = {{kKernels<float>, kKernels<double>}, locate};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
