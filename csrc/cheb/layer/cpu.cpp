// Layers of polynomials and their gradients. Compiled once per instruction set.
#include "cheb/layer/adjoint.hpp"
#include "cheb/layer/forward.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {poly_layer<T>, poly_layer_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
