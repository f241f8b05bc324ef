// Shared by walls in the plane and in space: searches for the closest wall or corner and for the first wall along a ray, and visibility.
#pragma once
#include "wos/stars/args.hpp"
#include "wos/stars/boxes.hpp"
#include "wos/stars/formula.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
constexpr T kSlack = T(sizeof(T) == 4 ? 1e-6 : 1e-13);  // rounding error of scaled coordinates
template <class T>
constexpr T kNowhere = T(1e30);  // larger than all distances

template <class T>
using Eight = Lanes<T, kRun>;  // one value per wall of a run

// A point drawn on a wall for the flux (6).
template <class T, int D>
struct Drawn {
  int64_t wall = -1;  // -1: no point
  T x[D], corner_weights[D - 1];
  T height = 0;    // the walk's height above the wall's line, needed if the wall has a mu
  double density;  // per scaled length or area
};

inline int64_t runs(int64_t n) { return (n + kRun - 1) / kRun; }
// Field j of item i in a table of runs, which stores each field of eight items contiguously.
template <class T>
T* number(const Scratch<T>& table, int fields, int64_t i, int j) {
  return table + (i / kRun * fields + j) * kRun + i % kRun;
}

// Whether a point at heights `one` and `two` above the walls of a corner faces both of them or neither, by more than rounding.
template <class V>
QF_HD Bits<V> faces_alike(V one, V two) {
  constexpr Element<V> slack = kSlack<Element<V>>;
  return ((one > slack) & (two > slack)) | ((one < -slack) & (two < -slack));
}

// The distance to the closest silhouette (2), at most `radius`. distance2(run): squared distances; kNowhere for corners that hide nothing.
template <class T, int D, class F>
T closest_silhouette(const Boxes<T, D>& boxes, const T (&x)[D], T radius, const F& distance2) {
  T best = radius * radius;
  boxes.visit([&](const auto& group) { return group.distance2(x) < best; },
              [&](int64_t run) {
                const Eight<T> d2 = distance2(run);
                for (unsigned at = bits(Bits<Eight<T>>(d2 < best)); at; at &= at - 1) best = lower(best, d2[first_bit(at)]);
              });
  return square_root(best);
}

// The closest wall within `radius`, or -1. `radius` becomes its distance. distance2(run): squared distances.
template <class T, int D, class F>
int64_t closest_wall(const Boxes<T, D>& boxes, const T (&x)[D], T& radius, const F& distance2) {
  T best = radius * radius;
  int64_t wall = -1;
  boxes.visit([&](const auto& group) { return group.distance2(x) <= best; },
              [&](int64_t run) {
                const Eight<T> d2 = distance2(run);
                for (unsigned near = bits(Bits<Eight<T>>(d2 <= best)); near; near &= near - 1) {
                  const int k = first_bit(near);
                  if (d2[k] < best || wall < 0) best = d2[k], wall = kRun * run + k;
                }
              });
  if (wall >= 0) radius = square_root(best);
  return wall;
}

// The first wall that the ray x + t d meets before `limit`, or -1; `limit` becomes t. Ties go to the lowest index. Skips wall `own`.
// meets(run): t for every wall of a run, kNowhere if the ray does not meet it.
template <class T, int D, class F>
int64_t first_wall(const Boxes<T, D>& boxes, const T (&x)[D], const T (&d)[D], T& limit, int64_t own, const F& meets) {
  T inverse[D];
  for (int j = 0; j < D; ++j) inverse[j] = T(1) / (d[j] > T(1e-20) || d[j] < T(-1e-20) ? d[j] : T(1e-20));
  int64_t wall = -1;
  boxes.visit([&](const auto& group) { return group.crossed(x, inverse, limit, 4 * kSlack<T>); },
              [&](int64_t run) {
                const Eight<T> t = meets(run);
                for (unsigned met = bits(Bits<Eight<T>>(t < kNowhere<T>)); met; met &= met - 1) {
                  const int64_t k = kRun * run + first_bit(met);
                  const T here = t[first_bit(met)];
                  if (k == own || !(here <= limit)) continue;
                  if (here < limit || wall < 0 || k < wall) wall = k;
                  limit = here;
                }
              });
  limit = higher(limit, T(0));
  return wall;
}

// Whether x sees a point of a wall. Two walls cannot hide the point: the wall that x is on, and a wall that the point is behind only by
// rounding. So collinear or coplanar walls do not hide each other.
template <class Walls, class T, int D>
bool sees(const Walls& walls, const T (&x)[D], const T (&z)[D], int64_t wall, int64_t own) {
  if (wall == own) return true;
  T d[D], r2 = 0;
  for (int j = 0; j < D; ++j) d[j] = z[j] - x[j], r2 += d[j] * d[j];
  const T r = square_root(r2);
  T limit = r - 4 * kSlack<T>;
  if (!(limit > T(0))) return true;
  for (int j = 0; j < D; ++j) d[j] /= r;
  return walls.hit(x, d, limit, own, r) < 0;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
