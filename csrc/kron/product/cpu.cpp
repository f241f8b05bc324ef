// The Kronecker matrix-vector product and its adjoint. Compiled once per instruction set.
#include "kron/product/adjoint.hpp"
#include "kron/product/apply.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

QF_KERNELS(prepare_product<T>, apply<T>, discard, apply_once<T>, adjoint<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
