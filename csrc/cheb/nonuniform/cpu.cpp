// Values of dense Chebyshev series at scattered points, and moments of weighted points. Compiled once per instruction set.
#include "cheb/nonuniform/method.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

QF_KERNELS(values<T>, values_adjoint<T>, moments<T>, moments_adjoint<T>, make_grid<T>, discard<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
