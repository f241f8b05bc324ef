// Scattered evaluation of Chebyshev-Tucker tensors and its adjoint. Compiled once per instruction set.
#include "cheb/scattered/derivatives.hpp"
#include "cheb/scattered/derivatives_adjoint.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {tucker_eval<T>, tucker_eval_adjoint<T>, tucker_derivatives<T>, tucker_derivatives_adjoint<T>, pack<T>,
                                 discard<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
