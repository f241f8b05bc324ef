// Short-range sums over particles and their gradients. Compiled once per instruction set.
#include "cheb/particles/sums.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

QF_KERNELS(short_range<T>, short_range_adjoint<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
