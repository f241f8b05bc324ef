// Kernels and layers of diagonal state-space models. Compiled once per instruction set.
#include "ssm/s4d/adjoint.hpp"

namespace quatrefoil::ssm::s4d {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {kernel<T>, kernel_adjoint<T>, layer<T>, layer_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
