// Sums over the spectrum of a grid's covariance. Compiled once per instruction set.
#include "kron/gp/spectrum.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {spectrum};  // in double precision for all data

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
