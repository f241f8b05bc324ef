// Distances to a polygon. Equation numbers: README.md beside this file.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// Square of the distance from (x, y) to the segment a + t e, 0 <= t <= 1, and the closest t. (1)
template <class V>
QF_HD V segment_distance2(V x, V y, V ax, V ay, V ex, V ey, V inverse_length2, V& t) {
  using T = Element<V>;
  const V px = x - ax, py = y - ay;
  t = (px * ex + py * ey) * inverse_length2;
  t = t > T(0) ? t : V{};
  t = t < T(1) ? t : broadcast<V>(T(1));
  const V dx = px - t * ex, dy = py - t * ey;
  return dx * dx + dy * dy;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
