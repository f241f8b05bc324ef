// The table of the state-space kernels, one precision after the other. Compiled once per instruction set.
#include "ssm/args.hpp"
#include "ssm/convolution.hpp"
#include "ssm/scan.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {fft_conv<T>,        fft_conv_vjp<T>,      linear_scan<T>,
                                 linear_scan_vjp<T>, linear_scan<cplx<T>>, linear_scan_vjp<cplx<T>>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
