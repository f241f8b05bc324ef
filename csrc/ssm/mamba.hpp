// The two kernels of a Mamba block.
#pragma once
#include "ssm/causal_conv1d.hpp"
#include "ssm/selective_scan_vjp.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr MambaKernels<T> kMamba = {
    selective_scan<T, T>,           selective_scan_vjp<T, T>, selective_scan<T, cplx<T>>,
    selective_scan_vjp<T, cplx<T>>, causal_conv<T>,           causal_conv_vjp<T>,
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
