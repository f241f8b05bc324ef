// Causal convolutions and their gradients. Compiled once per instruction set.
#include "ssm/convolution/rows.hpp"

namespace quatrefoil::ssm::convolution {
inline namespace QF_ISA {

template class Convolution<float>;
template class Convolution<double>;
template class ConvolutionAdjoint<float>;
template class ConvolutionAdjoint<double>;

template <class T>
constexpr Kernels<T> kKernels = {fft_conv<T>, fft_conv_vjp<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::convolution
