// Distances to a polygon. Equation numbers refer to README.md.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

// (1) The squared distance from (x, y) to the segment a + t e, 0 <= t <= 1, and the closest t.
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

// 1 if the ray from (x, y) to larger x crosses the segment from a to b, otherwise 0. Segments do not contain their upper ends.
QF_HD int crosses(double x, double y, double ax, double ay, double bx, double by) {
  const double side = (bx - ax) * (y - ay) - (x - ax) * (by - ay);  // > 0 to the left of the line from a to b
  return ((ay <= y) & (y < by) & (side > 0)) | ((by <= y) & (y < ay) & (side < 0));
}

// (4) The points of a segment where its three clearances are measured.
QF_HD constexpr double measured_at(int i) { return (2 * i + 1) / 6.0; }

// (4) A lower bound on the largest radius of a half disc around the point t of a segment that contains no other part of the boundary.
template <class V>
QF_HD V clear_radius(V t, V length, const V (&clearance)[3]) {
  V radius{};
  for (int i = 0; i < 3; ++i) {
    const V off = t - Element<V>(measured_at(i)), candidate = clearance[i] - length * (off < 0 ? -off : off);
    radius = candidate > radius ? candidate : radius;
  }
  const V to_end = lower(t, V(Element<V>(1) - t)) * length;
  return to_end < radius ? to_end : radius;
}

// (5) The exit of a Brownian path from the unit half disc, starting at height y above its centre, from a uniform direction (c, s). Returns
// whether the exit is on the diameter (not on the arc).
template <class V>
QF_HD Bits<V> leave_half_disc(V y, V c, V s, V& at_x, V& at_y) {
  using T = Element<V>;
  const T one = 1, two = 2;
  const V scale = one / (one + y * y), p = (one - y * y) * scale, q = two * y * scale;
  const V tangent = s / (c < 0 ? lower(c, broadcast<V>(T(-1e-30))) : higher(c, broadcast<V>(T(1e-30))));
  const V ratio = (p - q) * (p + q) + two * p * q * tangent;
  const Bits<V> on = ratio >= 0;
  const V size = on ? ratio : V(-ratio), root = square_root(size), below = one / (one + (on ? root : size));
  at_x = ((on ? root : size) - one) * below;
  at_y = on ? V{} : two * root * below;
  return on;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
