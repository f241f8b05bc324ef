// Causal convolutions and their gradients. Compiled once per instruction set.
#include "ssm/convolution/adjoint.hpp"

namespace quatrefoil::ssm::convolution {
inline namespace QF_ISA {

template class Channel<float>;
template class Channel<double>;
template class ChannelAdjoint<float>;
template class ChannelAdjoint<double>;

template <class T>
constexpr Kernels<T> kKernels = {fft_conv<T>, fft_conv_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::convolution
