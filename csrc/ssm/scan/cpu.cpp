// Linear scans and their gradients. Compiled once per instruction set.
#include "ssm/scan/adjoint.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {{linear<T>, linear_adjoint<T>}, {linear<cplx<T>>, linear_adjoint<cplx<T>>}};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
