// The return of distant walks outside. Equation numbers refer to README.md in this folder.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

constexpr double kNearSphere = 1.0625;  // relative to the radius of the sphere around a box; closer walks make ordinary steps
// half width of the square around 0 that contains the box of a polygon with walks outside; its grid is larger
constexpr double kPolygonHalf = 0.4;
constexpr double kNearCube = 0.0625;  // distance from a mesh's cube; closer walks search the tree, others use the distance to the cube

// kNearCube, but at least epsilon, so that the closest triangle is known where a walk ends.
template <class T>
QF_HD T near_cube(double epsilon) {
  return T(1.01 * epsilon > kNearCube ? 1.01 * epsilon : kNearCube);
}

// (1) The distance from a box around 0, negative inside.
template <class V, class T, int D>
QF_HD V distance_from_box(const V (&x)[D], const T (&half)[D]) {
  V d2{}, largest = broadcast<V>(T(-1));
  for (int i = 0; i < D; ++i) {
    const V excess = (x[i] < 0 ? -x[i] : x[i]) - half[i], positive = higher(excess, V{});
    d2 += positive * positive;
    largest = higher(largest, excess);
  }
  return largest > 0 ? square_root(d2) : largest;
}

// (7) The point of the circle of radius R that a walk from x in the plane hits first, using the random direction n.
template <class V>
QF_HD void return_to_circle(V R, V r, const V (&x)[2], V nx, V ny, V (&y)[2]) {
  const V ax = x[0] * R / (r * r), ay = x[1] * R / (r * r);
  const V px = nx + ax, py = ny + ay, qx = Element<V>(1) + (ax * nx + ay * ny), qy = ax * ny - ay * nx;
  const V scale = R / (qx * qx + qy * qy);
  y[0] = (px * qx + py * qy) * scale, y[1] = (py * qx - px * qy) * scale;
}

// (5), (6) Moves from x, at a distance r > R from 0, to a point of the sphere of radius R drawn from its exterior Poisson kernel, using the
// uniform number u and a random angle.
template <class V>
QF_HD void return_to_sphere(V R, V r, const V (&x)[3], V u, V cosine, V sine, V (&y)[3]) {
  using T = Element<V>;
  const V one = broadcast<V>(T(1));
  const V k = R / r, gap = (r - R) / r, den = gap + T(2) * k * u;
  const V h = T(2) * gap * gap * (one - u) * (one + k * u) / (den * den);  // 1 - the cosine of the angle
  const V away = square_root(higher(V(h * (T(2) - h)), V{}));
  V e[3];
  for (int i = 0; i < 3; ++i) e[i] = x[i] / r;
  const V sign = e[2] < 0 ? -one : one;
  const V a = -one / (sign + e[2]), b = e[0] * e[1] * a;
  const V p[3] = {one + sign * e[0] * e[0] * a, sign * b, -(sign * e[0])}, q[3] = {b, sign + e[1] * e[1] * a, -e[1]};
  for (int i = 0; i < 3; ++i) y[i] = R * ((one - h) * e[i] + away * (cosine * p[i] + sine * q[i]));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
