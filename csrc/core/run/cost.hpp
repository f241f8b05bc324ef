// The cost of the most common operation on one core. parallel_for uses such estimates to choose the number of threads and the block length;
// results never depend on them.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// ns per multiply-add in register tiles with data in L1 or L2, about one vector per cycle. This corresponds to 91 operations per ns in
// float32 with 64-byte vectors; `quatrefoil bench ssm` reaches 95 on one core.
template <class T>
constexpr double kMultiplyAddNs = 0.35 / kLanes<T>;

}  // namespace QF_ISA
}  // namespace quatrefoil
