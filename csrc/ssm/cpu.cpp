// The table of the state-space kernels: one row a noun, each from the header of that name. Compiled once per instruction set.
#include "ssm/args.hpp"
#include "ssm/convolution.hpp"
#include "ssm/kernel.hpp"
#include "ssm/layer_adjoint.hpp"
#include "ssm/kalmanet_vjp.hpp"
#include "ssm/mamba.hpp"
#include "ssm/scan.hpp"
#include "ssm/vandermonde.hpp"
#include "ssm/s5_adjoint.hpp"
#include "ssm/scan_adjoint.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {
    kConvolution<T>, kScan<T>, kLayer<T>, kKernel<T>, kVandermonde<T>,
    kConvolution<T>,
    kKalmanet<T>,
    kScan<T>,
    kS5<T>,
    kMamba<T>,
};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
