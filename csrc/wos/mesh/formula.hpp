// Distances to a triangle in its local frame. Equation numbers refer to README.md in this folder.
#pragma once
#include "core/lanes/lanes.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

// (1) The fields of a triangle: A; the unit vectors e, f and n; L, c_x and c_y; 1/|BC|^2 and 1/|CA|^2.
enum { kOrigin = 0, kAlong = 3, kAcross = 6, kNormal = 9, kLength = 12, kX = 13, kY = 14, kInverseBC = 15, kInverseCA = 16 };

template <class V>
QF_HD V clamp01(V t) {
  using T = Element<V>;
  t = t > T(0) ? t : V{};
  return t < T(1) ? t : broadcast<V>(T(1));
}

// A point's coordinates in the triangle's frame: along, across, and the height above its plane.
template <class V>
struct Local {
  V u, v, w;
};
template <class V, class Field>
QF_HD Local<V> local(const V (&x)[3], Field&& r) {
  V p[3], c[3];
  for (int j = 0; j < 3; ++j) p[j] = x[j] - r(kOrigin + j);
  for (int k = 0; k < 3; ++k)
    c[k] = multiply_add(p[0], r(kAlong + 3 * k), multiply_add(p[1], r(kAlong + 3 * k + 1), V(p[2] * r(kAlong + 3 * k + 2))));
  return {c[0], c[1], c[2]};
}

// (2) The squared distance; `closest` also moves (u, v) to the closest point. r(k) is field k of the triangle.
template <bool closest = false, class V, class Field>
QF_HD V triangle_distance2(Local<V>& at, Field&& r) {
  using T = Element<V>;
  const V u = at.u, v = at.v, length = r(kLength), cx = r(kX), cy = r(kY);
  const V bu = u - length, ex = cx - length;
  const auto inside = (v >= T(0)) & (ex * v - cy * bu >= T(0)) & (cy * u - cx * v >= T(0));
  V along = u > T(0) ? u : V{};
  along = along < length ? along : length;
  const V t = clamp01(V((ex * bu + cy * v) * r(kInverseBC))), s = clamp01(V((cx * u + cy * v) * r(kInverseCA)));
  const V du = u - along, tu = bu - t * ex, tv = v - t * cy, su = u - s * cx, sv = v - s * cy;
  const V ab = du * du + v * v, bc = tu * tu + tv * tv, ca = su * su + sv * sv;
  const V side = lower(ab, lower(bc, ca));
  if constexpr (closest) {
    const V of_bc_u = length + t * ex, of_ca_u = s * cx;
    V nu = bc < ca ? of_bc_u : of_ca_u, nv = bc < ca ? V(t * cy) : V(s * cy);
    nu = ab <= side ? along : nu, nv = ab <= side ? V{} : nv;
    at.u = inside ? u : nu, at.v = inside ? v : nv;
  }
  return (inside ? V{} : side) + at.w * at.w;
}

// Computes the fields of the triangle with these corners in double precision. Returns the index of the corner A.
QF_HD int triangle_record(const double (&corner)[9], double (&r)[17]) {
  double longest = -1;
  int first = 0;
  for (int k = 0; k < 3; ++k) {
    double l2 = 0;
    for (int j = 0; j < 3; ++j) {
      const double d = corner[3 * ((k + 1) % 3) + j] - corner[3 * k + j];
      l2 += d * d;
    }
    if (l2 > longest) longest = l2, first = k;
  }
  const double *a = corner + 3 * first, *b = corner + 3 * ((first + 1) % 3), *c = corner + 3 * ((first + 2) % 3);
  const double length = square_root(longest);
  double* const e = r + kAlong;
  double* const f = r + kAcross;
  double cx = 0, cy = 0;
  for (int j = 0; j < 3; ++j) r[kOrigin + j] = a[j], e[j] = (b[j] - a[j]) / length, cx += (c[j] - a[j]) * e[j];
  for (int j = 0; j < 3; ++j) f[j] = (c[j] - a[j]) - cx * e[j];
  for (int pass = 0; pass < 2; ++pass) {  // the second pass makes the frames of slivers orthogonal too
    double dot = 0, norm2 = 0;
    for (int j = 0; j < 3; ++j) dot += f[j] * e[j];
    for (int j = 0; j < 3; ++j) f[j] -= dot * e[j], norm2 += f[j] * f[j];
    const double norm = square_root(norm2);
    if (pass == 0) cy = norm;
    if (norm > 0) {
      for (int j = 0; j < 3; ++j) f[j] /= norm;
    } else {  // zero height: choose any direction across
      const int k = e[0] * e[0] < 0.5 ? 0 : 1;
      for (int j = 0; j < 3; ++j) f[j] = (j == k) - e[k] * e[j];
    }
  }
  for (int j = 0; j < 3; ++j) r[kNormal + j] = e[(j + 1) % 3] * f[(j + 2) % 3] - e[(j + 2) % 3] * f[(j + 1) % 3];
  r[kLength] = length, r[kX] = cx, r[kY] = cy;
  const double bc = (cx - length) * (cx - length) + cy * cy, ca = cx * cx + cy * cy;
  r[kInverseBC] = bc > 0 ? 1 / bc : 0, r[kInverseCA] = ca > 0 ? 1 / ca : 0;
  return first;
}

// (3) The weights of A, B and C at a point (u, v) of the triangle, nonnegative with sum 1.
template <class T>
QF_HD void triangle_weights(T u, T v, T length, T cx, T cy, T (&weight)[3]) {
  const T c = cy > 0 ? min(max(v / cy, T(0)), T(1)) : T(0);
  const T b = min(max((u - cx * c) / length, T(0)), T(1) - c);
  weight[0] = (T(1) - c) - b, weight[1] = b, weight[2] = c;
}

// The squared distance from x to the triangle with these corners, and the weights of the closest point.
QF_HD double closest_on_triangle(const double (&x)[3], const double (&corner)[9], double (&weight)[3]) {
  double r[17];
  const int first = triangle_record(corner, r);
  const auto field = [&](int k) { return r[k]; };
  Local<double> at = local<double>(x, field);
  const double d2 = triangle_distance2<true, double>(at, field);
  double rotated[3];
  triangle_weights(at.u, at.v, r[kLength], r[kX], r[kY], rotated);
  for (int k = 0; k < 3; ++k) weight[(first + k) % 3] = rotated[k];
  return d2;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
