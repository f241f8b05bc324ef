// Dense Chebyshev coefficients at scattered points, and moments of particles. Compiled once per instruction set.
#include "cheb/nonuniform/adjoint.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {values<T>, values_adjoint<T>, moments<T>, moments_adjoint<T>, make_grid<T>, discard<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
