// The cost of the most common operation on one core. parallel_for uses such estimates to choose threads and block lengths; results never
// depend on them.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// ns per multiply-add in register tiles with data in L1 or L2, about one vector per cycle. Estimated; `quatrefoil bench ssm` on one core
// with 64-byte vectors does 95 operations per ns in float32, where this says 91.
template <class T>
constexpr double kMultiplyAddNs = 0.35 / kLanes<T>;

}  // namespace QF_ISA
}  // namespace quatrefoil
