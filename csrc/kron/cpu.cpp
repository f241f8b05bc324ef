// The Kronecker matrix-vector product and its adjoint. Compiled once per instruction set.
#include "kron/adjoint.hpp"
#include "kron/pass.hpp"

namespace quatrefoil::kron {
inline namespace QF_ISA {

// Sizes between the passes of a plan: those already applied have m, the others n.
class Sizes {
 public:
  Sizes(const Stage<T_>*, int);
};

}  // namespace QF_ISA
}  // namespace quatrefoil::kron
