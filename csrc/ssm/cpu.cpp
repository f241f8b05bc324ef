// The table of the state-space kernels: one row a noun, each from the header of that name. Compiled once per instruction set.
#include "ssm/args.hpp"
#include "ssm/cauchy.hpp"
#include "ssm/convolution.hpp"
#include "ssm/dplr_gradient.hpp"
#include "ssm/kalmanet_vjp.hpp"
#include "ssm/kernel.hpp"
#include "ssm/layer_adjoint.hpp"
#include "ssm/mamba.hpp"
#include "ssm/s5_adjoint.hpp"
#include "ssm/scan_adjoint.hpp"
#include "ssm/vandermonde.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {
    kCauchy<T>, kConvolution<T>, kDplr<T>, kKalmanet<T>, kKernel<T>, kLayer<T>, kMamba<T>, kS5<T>, kScan<T>, kVandermonde<T>,
};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
