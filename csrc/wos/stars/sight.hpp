// What walls in the plane and in space share: a point drawn for the flux, and whether it is seen.
#pragma once
#include "wos/stars/args.hpp"
#include "wos/stars/boxes.hpp"
#include "wos/stars/formula.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
constexpr T kSlack = T(sizeof(T) == 4 ? 1e-6 : 1e-13);  // rounding of scaled coordinates
template <class T>
constexpr T kNowhere = T(1e30);  // on no ray

// A point of a wall drawn for the flux (6).
template <class T, int D>
struct Drawn {
  int64_t wall = -1;  // none
  T x[D], place[D - 1];
  T height = 0;    // of the walk above the wall's line, where mu is asked for
  double density;  // of a scaled length or area
};

// Whether x sees a point of a wall. What x is on does not hide it; nor does a wall that the point lies behind by rounding only: walls of
// one line or plane do not hide each other.
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

// The reciprocals of a direction, for boxes.
template <class T, int D>
QF_HD void reciprocals(const T (&d)[D], T (&inverse)[D]) {
  for (int j = 0; j < D; ++j) inverse[j] = T(1) / (d[j] > T(1e-20) || d[j] < T(-1e-20) ? d[j] : T(1e-20));
}

// Of some walls that a ray meets at t within `limit` the first one, and of several the one of the lowest number. `wall`: the one so far.
template <class T, class V>
QF_HD void take_first(V t, int64_t run, int64_t own, T& limit, int64_t& wall) {
  for (unsigned found = bits(Bits<V>(t < kNowhere<T>)); found; found &= found - 1) {
    const int64_t k = kRun * run + first_bit(found);
    const T here = t[first_bit(found)];
    if (k == own || !(here <= limit)) continue;
    if (here < limit || wall < 0 || k < wall) wall = k;
    limit = here;
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
