// Building meshes' trees. Compiled once per instruction set.
#include "wos/mesh/build.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {build_tree<T>, free_tree<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
