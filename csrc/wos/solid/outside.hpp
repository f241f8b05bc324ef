// How far a ball, a box or a mesh is from W walks outside of it, and how walks return from far away. In space. README (4) to (6).
#pragma once
#include "wos/mesh/grid.hpp"
#include "wos/solid/domain.hpp"
#include "wos/solid/formula.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

template <class V>
class Outside {
 public:
  static constexpr int D = 3;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  // grid: of a mesh, or null; epsilon: the distance within which the closest triangle must be known.
  Outside(const Solid& solid, mesh::Grid<T>* grid, double epsilon) : solid_(solid), grid_(grid), near_(near_cube<T>(epsilon)) {
    double r2 = 0;
    for (int i = 0; i < D; ++i) half_[i] = grid ? T(0.5) : solid.half ? T(solid.half[i]) : T(0), r2 += double(half_[i]) * double(half_[i]);
    const bool is_ball = !grid && solid.ball();
    sphere_ = is_ball ? T(1) : T(square_root(r2));
    far_ = is_ball ? T(1) : T(kNearSphere) * sphere_;
  }

  QF_HD Seen<V> look(const V (&x)[D], I active) const {
    if (!grid_ && solid_.ball()) return {length(x) - T(1), V{}, I{}};
    const V box = distance_from_box(x, half_);
    return grid_ ? look_at_mesh(x, active, box) : Seen<V>{box, V{}, I{}};
  }
  // Where a walk ends: the closest point.
  void project(T (&x)[D], Int& primitive, T (&where)[D - 1]) const {
    grid_ ? mesh::Mesh<V>(*grid_).project(x, primitive, where) : project_on_solid(solid_, x);
  }
  static bool escaped(const T (&)[D]) { return false; }

  // Beyond the sphere, where `far`, a walk returns to y with weight 1, or goes to infinity with weight 0. Takes two uniform numbers and an
  // angle.
  QF_HD I far(const V (&x)[D]) const { return length(x) > far_; }
  QF_HD V come_back(const V (&x)[D], V u, V v, V cosine, V sine, V (&y)[D]) const {
    const V r = length(x), R = broadcast<V>(sphere_);
    return_to_sphere(R, r, x, v, cosine, sine, y);
    return u * r < R ? broadcast<V>(T(1)) : V{};
  }

 private:
  QF_HD static V length(const V (&x)[D]) { return square_root(V(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])); }
  // In the cube by the grid; near it by the tree, one lane after the other.
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
      int64_t place = -1;
      search.closest(here, best, place);
      radius[l] = square_root(best), primitive[l] = Int(place);
    }
    seen.radius = load<V>(radius), seen.primitive = load<I>(primitive);
    return seen;
  }

  const Solid solid_;
  mesh::Grid<T>* const grid_;
  const T near_;
  T half_[D], sphere_, far_;
};
template <class V>
constexpr bool kOutside<Outside<V>> = true;

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
