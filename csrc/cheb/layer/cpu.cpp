// Layers of polynomials and their gradients. Compiled once per instruction set.
#include "cheb/layer/adjoint.hpp"
#include "cheb/layer/forward.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

QF_KERNELS(poly_layer<T>, poly_layer_adjoint<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
