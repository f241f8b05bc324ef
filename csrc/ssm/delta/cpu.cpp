// The gated delta rule and its gradient. Compiled once per instruction set.
#include "ssm/delta/adjoint.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {delta_rule<T>, delta_rule_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
