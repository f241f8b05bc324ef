// Walks through media and their gradients. Compiled once per instruction set.
#include "core/run/parallel.hpp"
#include "wos/media/args.hpp"
#include "wos/media/values.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

template <class T>
constexpr Kernels<T> kKernels = {media<T>, media_adjoint<T>, media_trace<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
