// What the commonest operation costs on one core: parallel_for decides by such numbers whether threads pay, and how long a block may be
// before an interrupt is looked for. Results never depend on them.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// ns a multiply-add in register tiles whose data is in L1 or L2: one vector a cycle. Estimated; the layer by scan, `quatrefoil bench ssm`
// on one core with 64-byte vectors, does 95 operations a ns in float32, where this says 91.
template <class T>
constexpr double kMultiplyAddNs = 0.35 / kLanes<T>;

}  // namespace QF_ISA
}  // namespace quatrefoil
