// The kernels of a Mamba block. Compiled once per instruction set.
#include "ssm/selective/adjoint.hpp"
#include "ssm/selective/causal_conv1d.hpp"
#include "ssm/selective/state_step_adjoint.hpp"
#include "ssm/selective/varlen_states.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {{selective_scan<T, T>, selective_scan_adjoint<T, T>},
                                 {selective_scan<T, cplx<T>>, selective_scan_adjoint<T, cplx<T>>},
                                 causal_conv<T>,
                                 causal_conv_adjoint<T>,
                                 state_step<T>,
                                 state_step_adjoint<T>,
                                 varlen_states<T>,
                                 varlen_states_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
