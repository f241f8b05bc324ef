// Walks on stars and their gradients. Compiled once per instruction set.
#include "core/run/parallel.hpp"
#include "wos/stars/args.hpp"
#include "wos/stars/values.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {stars<T>, stars_adjoint<T>, stars_trace<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
