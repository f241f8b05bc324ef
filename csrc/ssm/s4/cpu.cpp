// Kernels of diagonal plus low-rank systems, and sums over poles. Compiled once per instruction set.
#include "ssm/s4/adjoint.hpp"
#include "ssm/s4/cauchy.hpp"

namespace quatrefoil::ssm::s4 {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {kernel<T>, kernel_adjoint<T>, cauchy_mult<T>, cauchy_mult_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
