// Rational filters and their gradients. Compiled once per instruction set.
#include "ssm/arma/adjoint.hpp"

namespace quatrefoil::ssm::arma {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {filter<T>, filter_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::arma
