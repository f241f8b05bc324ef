// Gated KalmaNet and its gradient. Compiled once per instruction set.
#include "ssm/kalmanet/adjoint.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {gka<T>, gka_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
