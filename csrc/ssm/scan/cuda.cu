// The linear scan and its gradients on a GPU.
#include "ssm/scan/cuda.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {{linear<T>, linear_adjoint<T>}, {linear<cplx<T>>, linear_adjoint<cplx<T>>}};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "linear_scan linear_scan_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
