// S5 and its gradients. Compiled once per instruction set.
#include "ssm/s5/adjoint.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {apply<T>, apply_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
