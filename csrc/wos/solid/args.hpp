// Boundaries without pieces, in scaled coordinates: the unit ball, a box around 0, or where a field of signed distances is 0, which values
// at nodes or a user's function give.
#pragma once
#include <cstdint>

#include "core/lanes/hd.hpp"

namespace quatrefoil::wos::solid {

constexpr std::int64_t kMostDimension = 1024;  // a counter of random words holds 256 calls of Philox a direction

struct Solid {
  const double* half = nullptr;   // (dimension,) a box, by half its sides
  const double* field = nullptr;  // signed distances: README, The row of a field
  void (*function)(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) = nullptr;  // them, absolute
  void* context = nullptr;
  bool ball() const { return !half && !field; }
};

// The numbers in a field's row before its values: what distances are divided by, its nodes along every axis, its box's corners. Behind
// those of a function, which has no nodes, come the centre and extent of its box in absolute coordinates.
QF_HD constexpr std::int64_t field_head(std::int64_t dimension) { return 1 + 3 * dimension; }

}  // namespace quatrefoil::wos::solid
