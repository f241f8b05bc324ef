// The table of the state-space kernels: one row a noun, each from the header of that name. Compiled once per instruction set.
#include "ssm/args.hpp"
#include "ssm/cauchy.hpp"
#include "ssm/convolution.hpp"
#include "ssm/dplr_gradient.hpp"
#include "ssm/kernel.hpp"
#include "ssm/scan.hpp"
#include "ssm/vandermonde.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {
    kConvolution<T>, kScan<T>, kKernel<T>, kVandermonde<T>, kCauchy<T>, kDplr<T>,
};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
