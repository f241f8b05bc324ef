// Sums over the spectrum of a grid's covariance, and over all axes but one. Compiled once per instruction set.
#include "kron/gp/gram.hpp"
#include "kron/gp/spectrum.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {spectrum, gram};  // in double precision for all data

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
