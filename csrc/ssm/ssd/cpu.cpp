// Mamba-2's scan and its gradient. Compiled once per instruction set.
#include "ssm/ssd/adjoint.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {chunk_scan<T>, chunk_scan_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
