// Distances of W walks outside a ball, a box, a field, a polygon or a mesh, and the return of distant walks. README (4) to (8).
#pragma once
#include "wos/mesh/grid.hpp"
#include "wos/solid/domain.hpp"
#include "wos/solid/formula.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

template <class V, int dimension>
class Outside {
 public:
  static constexpr int D = dimension;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using Grid = typename std::conditional<D == 2, const polygon::Grid<T>, mesh::Grid<T>>::type;
  // grid: the grid of a polygon or mesh, or null. epsilon: the distance within which the closest segment or triangle must be known. reach:
  // sources are 0 beyond this distance from 0.
  Outside(const Solid& solid, Grid* grid, double epsilon, double reach) : solid_(solid), grid_(grid), near_(near_of(epsilon)) {
    double r2 = 0;
    for (int i = 0; i < D; ++i) {
      half_[i] = grid ? T(D == 2 ? kPolygonHalf : 0.5) : solid.half ? T(solid.half[i]) : solid.field ? T(solid.field[1 + 2 * D + i]) : T(0);
      r2 += double(half_[i]) * double(half_[i]);
    }
    const bool is_ball = !grid && solid.ball() && !(reach > 1);
    sphere_ = is_ball ? T(1) : T(max(!grid && solid.ball() ? 1.0 : square_root(r2), reach));
    far_ = is_ball ? T(1) : T(kNearSphere) * sphere_;
  }

  QF_HD Seen<V> look(const V (&x)[D], I active) const {
    if (!grid_ && solid_.ball()) return {length(x) - T(1), V{}, I{}};
    if (!grid_ && solid_.field) return {from_field(x), V{}, I{}};
    const V box = distance_from_box(x, half_);
    return grid_ ? look_at_facets(x, active, box) : Seen<V>{box, V{}, I{}};
  }
  // Moves x, a walk's end, to the closest point.
  void project(T (&x)[D], Int& primitive, T (&where)[D - 1]) const {
    if (!grid_)
      project_on_solid(solid_, x);
    else if constexpr (D == 2)
      polygon::Polygon<V>(*grid_).project(x, primitive, where);
    else
      mesh::Mesh<V>(*grid_).project(x, primitive, where);
  }
  static bool escaped(const T (&)[D]) { return false; }

  // A walk beyond `far_` returns to y on the sphere (weight 1) or, in space, goes to infinity (weight 0). u, v: for space only.
  QF_HD I far(const V (&x)[D]) const { return length(x) > far_; }
  QF_HD V come_back(const V (&x)[D], V u, V v, V cosine, V sine, V (&y)[D]) const {
    const V r = length(x), R = broadcast<V>(sphere_), one = broadcast<V>(T(1));
    if constexpr (D == 2) {
      return_to_circle(R, r, x, cosine, sine, y);
      return one;
    } else {
      return_to_sphere(R, r, x, v, cosine, sine, y);
      return u * r < R ? one : V{};
    }
  }

 private:
  // (8) Not inlined, so that it does not cost other walks registers.
  [[gnu::noinline]] V from_field(const V (&x)[D]) const {
    alignas(64) T from[D][kWidth<V>], to[kWidth<V>];
    field_at(solid_, x, from, to);
    const V zero{}, box = higher(distance_from_box(x, half_), zero), value = higher(V(load<V>(to) * T(1 / solid_.field[0])), zero);
    return square_root(V(box * box + value * value));
  }
  static T near_of(double epsilon) { return D == 2 ? T(0.5 - kPolygonHalf) : near_cube<T>(epsilon); }
  QF_HD static V length(const V (&x)[D]) {
    V r2{};
    for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
    return square_root(r2);
  }
  // A polygon's grid has a margin. A mesh's grid is used inside its cube; near the cube the tree is searched, one lane at a time.
  Seen<V> look_at_facets(const V (&x)[D], I active, V box) const {
    if constexpr (D == 2) {
      const I near = box < near_;
      Seen<V> seen = polygon::Polygon<V>(*grid_).look(x, active & near);
      seen.radius = near ? seen.radius : box;
      seen.primitive = near ? seen.primitive : I{} - 1;
      return seen;
    } else {
      return look_at_mesh(x, active, box);
    }
  }
  Seen<V> look_at_mesh(const V (&x)[D], I active, V cube) const {
    Seen<V> seen = mesh::Mesh<V>(*grid_).look(x, active & (cube <= 0));
    seen.radius = cube > 0 ? cube : seen.radius;
    seen.primitive = cube > 0 ? I{} - 1 : seen.primitive;
    alignas(64) T at[D][kWidth<V>], radius[kWidth<V>];
    alignas(64) Int primitive[kWidth<V>];
    unsigned set = bits(active & (cube > 0) & (cube < near_));
    if (!set) return seen;
    for (int i = 0; i < D; ++i) store(at[i], x[i]);
    store(radius, seen.radius), store(primitive, seen.primitive);
    const mesh::Search<T> search(*grid_->tree);
    for (; set; set &= set - 1) {
      const int l = __builtin_ctz(set);
      const T here[D] = {at[0][l], at[1][l], at[2][l]};
      T best = mesh::Search<T>::kBeyond;
      int64_t position = -1;
      search.closest(here, best, position);
      radius[l] = square_root(best), primitive[l] = Int(position);
    }
    seen.radius = load<V>(radius), seen.primitive = load<I>(primitive);
    return seen;
  }

  const Solid solid_;
  Grid* const grid_;
  const T near_;
  T half_[D], sphere_, far_;
};
template <class V, int D>
constexpr bool kOutside<Outside<V, D>> = true;

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
