// Sums over modes and their adjoints. Compiled once per instruction set.
#include "ssm/modes/vandermonde.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {
    log_vandermonde<T>, log_vandermonde_adjoint<T>, log_vandermonde_transpose<T>, log_vandermonde_transpose_adjoint<T>, nullptr, nullptr};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
