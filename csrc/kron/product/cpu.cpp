// The Kronecker matrix-vector product and its adjoint. Compiled once per instruction set.
#include "kron/product/adjoint.hpp"
#include "kron/product/apply.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {prepare_product<T>, apply<T>, discard, apply_once<T>, adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
