// Sums over the spectrum of a grid's covariance, and over all axes except one. Compiled once per instruction set.
#include "kron/gp/gram.hpp"
#include "kron/gp/spectrum.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

QF_KERNELS(spectrum, gram)  // in double precision for all data

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
