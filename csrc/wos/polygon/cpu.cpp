// The grids of polygons. Compiled once per instruction set.
#include "wos/polygon/build.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

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
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
