// Scattered evaluation of Chebyshev-Tucker tensors and its adjoint. Compiled once per instruction set.
#include "cheb/scattered/derivatives_adjoint.hpp"
#include "cheb/scattered/evaluate.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

QF_KERNELS(tucker_eval<T>, tucker_eval_adjoint<T>, tucker_derivatives<T>, tucker_derivatives_adjoint<T>, pack<T>, discard<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
