// Short-range sums over particles and their gradients. Compiled once per instruction set.
#include "cheb/particles/adjoint.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {short_range<T>, short_range_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
