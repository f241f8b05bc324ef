// Boundaries without facets, in scaled coordinates: the unit ball, a box around 0, or the zeros of a signed distance field, given by values
// at nodes or by a user's function.
#pragma once
#include <cstdint>

#include "core/lanes/hd.hpp"

namespace quatrefoil::wos::solid {

constexpr std::int64_t kMaxDimension = 1024;  // a random counter allows 256 calls to Philox per direction

struct Solid {
  const double* half = nullptr;   // (dimension,) half the sides of a box
  const double* field = nullptr;  // signed distances: README, The row of a field
  // signed distances in absolute coordinates
  void (*function)(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) = nullptr;
  void* context = nullptr;
  bool ball() const { return !half && !field; }
};

// The number of elements in a field's row before its values: the divisor of distances, the nodes on each axis, the box's corners. A
// function has no nodes, and has the centre and extent of its box in absolute coordinates instead of values.
QF_HD constexpr std::int64_t field_head(std::int64_t dimension) { return 1 + 3 * dimension; }

}  // namespace quatrefoil::wos::solid
