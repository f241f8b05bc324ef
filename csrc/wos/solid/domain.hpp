// Distances of W walks from a solid's boundary, in the plane and in space. A ball has a separate class, without branches.
#pragma once
#include "wos/polygon/grid.hpp"
#include "wos/solid/locate.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

using polygon::Seen;

// Whether walks are outside the boundary (outside.hpp).
template <class Domain>
constexpr bool kOutside = false;

template <int D, class T>
void project_on_solid(const Solid& solid, T (&x)[D]) {
  double here[D], at[D];
  for (int i = 0; i < D; ++i) here[i] = double(x[i]);
  nearest(solid, D, here, at);
  for (int i = 0; i < D; ++i) x[i] = T(at[i]);
}

// Evaluates a field at W points. Writes their coordinates to `from` and the values to `to`. Outside its box, a field has the value of the
// closest point of the box.
template <class V, int D, class T, int W>
void field_at(const Solid& solid, const V (&x)[D], T (&from)[D][W], T (&to)[W]) {
  using E = Lanes<double>;
  const Distances<D> distances(solid);
  for (int i = 0; i < D; ++i) store(from[i], x[i]);
  for (int k = 0; k < W; k += kWidth<E>) {
    E at[D];
    for (int i = 0; i < D; ++i) at[i] = load_as<E>(from[i] + k);
    store_as<T>(to + k, distances.at(at));
  }
}

template <class V, int dimension>
class UnitBall {
 public:
  static constexpr int D = dimension;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  QF_HD Seen<V> look(const V (&x)[D], I) const {
    V r2{};
    for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
    return {T(1) - square_root(r2), V{}, I{}};
  }
  void project(T (&x)[D], Int&, T (&)[D - 1]) const { project_on_ball(x); }
  static bool escaped(const T (&)[D]) { return false; }
};

// A box or a field.
template <class V, int dimension>
class Inside {
 public:
  static constexpr int D = dimension;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  explicit Inside(const Solid& solid) : solid_(solid), divisor_(solid.field ? T(1 / solid.field[0]) : T(1)) {
    for (int i = 0; i < D; ++i) half_[i] = solid.half ? T(solid.half[i]) : T(0);
  }

  // Reads nothing for a box, 2^D values per lane for a field.
  QF_HD Seen<V> look(const V (&x)[D], I) const {
    if (solid_.half) {
      V radius = half_[0] - absolute(x[0]);
      for (int i = 1; i < D; ++i) radius = lower(radius, V(half_[i] - absolute(x[i])));
      return {radius, V{}, I{}};
    }
    return {-field(x) * divisor_, V{}, I{}};
  }
  // Moves x, a walk's end, to the closest point.
  void project(T (&x)[D], Int&, T (&)[D - 1]) const { project_on_solid(solid_, x); }
  // The domain lies within its field's box.
  bool escaped(const T (&x)[D]) const {
    bool out = false;
    for (int i = 0; solid_.field && i < D; ++i) out = out || Distances<D>(solid_).beyond(i, double(x[i]));
    return out;
  }

 private:
  QF_HD static V absolute(V x) { return x < 0 ? -x : x; }
  // Returns 0 beyond the box, so that walks end there. Not inlined, so that it does not cost a box's steps registers.
  [[gnu::noinline]] V field(const V (&x)[D]) const {
    constexpr int W = kWidth<V>;
    const Distances<D> distances(solid_);
    alignas(64) T from[D][W], to[W];
    field_at(solid_, x, from, to);
    for (int i = 0; i < D; ++i)
      for (int l = 0; l < W; ++l) to[l] = distances.beyond(i, double(from[i][l])) ? T(0) : to[l];
    return load<V>(to);
  }
  const Solid solid_;
  const T divisor_;
  T half_[D];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
