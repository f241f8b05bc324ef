// Builds the trees and grids of meshes. Compiled once per instruction set.
#include "wos/mesh/build.hpp"
#include "wos/mesh/grid.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

template <class T>
void bounds(Grid<T>& grid, const T* points, int64_t n, T* radius, int64_t* primitive) {
  using V = Lanes<T>;
  using I = Bits<V>;
  constexpr int W = kLanes<T>;
  const Mesh<V> domain(grid);
  for (int64_t i = 0; i < n; i += W) {
    V x[3] = {};
    I active{};
    for (int l = 0; l < W && i + l < n; ++l) {
      active[l] = -1;
      for (int j = 0; j < 3; ++j) x[j][l] = points[3 * (i + l) + j];
    }
    const Seen<V> seen = domain.look(x, active);
    for (int l = 0; l < W && i + l < n; ++l) {
      radius[i + l] = seen.radius[l];
      primitive[i + l] = seen.primitive[l] < 0 ? -1 : int64_t(grid.tree->ids[seen.primitive[l]]);
    }
  }
}

template <class T>
constexpr Kernels<T> kKernels = {build_tree<T>, free_tree<T>, build_moments<T>, make_grid<T>, free_grid<T>, bounds<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
