// The table of the state-space kernels: one row a noun, each from the header of that name. Compiled once per instruction set.
#include "ssm/args.hpp"
#include "ssm/convolution.hpp"
#include "ssm/mamba.hpp"
#include "ssm/scan.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {
    kConvolution<T>,
    kScan<T>,
    kMamba<T>,
};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
