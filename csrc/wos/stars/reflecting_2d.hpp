// The reflecting segments of a polygon, processed eight segments or corners at a time.
#pragma once
#include "wos/stars/visibility.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
class Reflecting2D {
 public:
  static constexpr int D = 2;
  using V = Eight<T>;

  Reflecting2D(const Reflecting& tables, double extent)
      : walls_(runs(tables.M) * kWallFields * kRun),
        corners_(runs(tables.K) * kCornerFields * kRun),
        boxes_(tables.M, [&](int64_t i) { return box_of_wall(tables.walls + kWallNumbers<D> * i); }),
        corner_boxes_(tables.K, [&](int64_t i) { return box_of_corner(tables.corners + kCornerNumbers<D> * i); }) {
    for (int64_t i = 0; i < runs(tables.M) * kRun; ++i) {
      double f[kWallFields] = {1e12, 1e12, 0, 0, 0, 0, 0, 0, 0, 0, 0};  // padding, far away
      if (i < tables.M) {
        const double* const w = tables.walls + kWallNumbers<D> * i;
        const double ex = w[2] - w[0], ey = w[3] - w[1], length = square_root(ex * ex + ey * ey);
        const double bound = tables.exchange ? tables.exchange[2 * i] * extent : 0,
                     constant = tables.exchange ? tables.exchange[2 * i + 1] * extent : 0;
        const double fields[kWallFields] = {w[0],          w[1], ex,    ey,      length, 1 / length, 1 / (length * length),
                                            w[4] * extent, w[5], bound, constant};
        __builtin_memcpy(f, fields, sizeof(f));
        has_mu_ = has_mu_ || w[4] > 0, exchange_ = higher(exchange_, T(bound));
      }
      for (int j = 0; j < kWallFields; ++j) *number(walls_, kWallFields, i, j) = T(f[j]);
    }
    for (int64_t i = 0; i < runs(tables.K) * kRun; ++i)
      for (int j = 0; j < kCornerFields; ++j)
        *number(corners_, kCornerFields, i, j) = i < tables.K ? T(tables.corners[kCornerNumbers<D> * i + j]) : T(j < 2 ? 1e12 : 0);
  }

  bool has_mu() const { return has_mu_; }  // whether any mu is positive
  // (12) The largest bound on |nu_0|, the bound on one wall, and the constant part of nu_0 there. All are 0 without a medium.
  T exchange() const { return exchange_; }
  T exchange(int64_t wall) const { return of_wall(wall, kExchange); }
  T constant(int64_t wall) const { return of_wall(wall, kConstant); }
  T mu(int64_t wall) const { return of_wall(wall, kMu); }
  bool is_robin(int64_t wall) const { return of_wall(wall, kRobin) != 0; }
  void inward(int64_t wall, T (&n)[2]) const {
    const T inverse = of_wall(wall, kInverse);
    n[0] = -of_wall(wall, 3) * inverse, n[1] = of_wall(wall, 2) * inverse;
  }
  // Moves x to the point where its ray meets the wall, at t.
  void land(int64_t wall, const T (&d)[2], T t, T (&x)[2]) const {
    T a[2], e[2];
    for (int j = 0; j < 2; ++j) a[j] = of_wall(wall, j), e[j] = of_wall(wall, 2 + j);
    const T s = ((x[0] + t * d[0] - a[0]) * e[0] + (x[1] + t * d[1] - a[1]) * e[1]) * of_wall(wall, kInverse2);
    point(wall, lower(higher(s, T(0)), T(1)), x);
  }
  T silhouette(const T (&x)[2], T radius) const {
    return closest_silhouette(corner_boxes_, x, radius, [&](int64_t run) {
      const T* const f = corners_ + run * kCornerFields * kRun;
      const V dx = x[0] - load<V>(f), dy = x[1] - load<V>(f + kRun);
      const V one = dx * load<V>(f + 2 * kRun) + dy * load<V>(f + 3 * kRun);
      const V two = dx * load<V>(f + 4 * kRun) + dy * load<V>(f + 5 * kRun);
      const V d2 = dx * dx + dy * dy;
      return faces_alike(one, two) ? broadcast<V>(kNowhere<T>) : d2;
    });
  }
  // (7) Calls first_wall for this boundary. Considers only walls with x + end d beyond their lines.
  int64_t hit(const T (&x)[2], const T (&d)[2], T& limit, int64_t own, T end = kNowhere<T>) const {
    const V at[2] = {broadcast<V>(x[0]), broadcast<V>(x[1])}, along[2] = {broadcast<V>(d[0]), broadcast<V>(d[1])};
    return first_wall(boxes_, x, d, limit, own, [&](int64_t run) {
      const T* const f = walls_ + run * kWallFields * kRun;
      return ray_hit(at, along, load<V>(f), load<V>(f + kRun), load<V>(f + 2 * kRun), load<V>(f + 3 * kRun), load<V>(f + kInverse * kRun),
                     limit, end, kSlack<T>, kNowhere<T>);
    });
  }
  // Calls closest_wall for this boundary, for all walls or only for those with a mu.
  int64_t closest(const T (&x)[2], T& radius, bool with_mu = false) const {
    return closest_wall(boxes_, x, radius, [&](int64_t run) {
      const T* const f = walls_ + run * kWallFields * kRun;
      V t;
      const V d2 = polygon::segment_distance2(broadcast<V>(x[0]), broadcast<V>(x[1]), load<V>(f), load<V>(f + kRun), load<V>(f + 2 * kRun),
                                              load<V>(f + 3 * kRun), load<V>(f + kInverse2 * kRun), t);
      return !with_mu ? d2 : load<V>(f + kMu * kRun) > T(0) ? d2 : broadcast<V>(kNowhere<T>);
    });
  }

  // (4) The integral of G mu / (1 + p mu) over the visible parts of the walls in the disc.
  T robin_mass(const T (&x)[2], T R, int64_t own) const {
    T total = 0;
    boxes_.visit([&](const auto& group) { return group.distance2(x) < R * R; },
                 [&](int64_t run) {
                   const T* const f = walls_ + run * kWallFields * kRun;
                   for (int k = 0; k < kRun; ++k) {
                     const T mu = f[kMu * kRun + k];
                     if (!(mu > T(0))) continue;
                     T from, to, foot, p;
                     if (!clip(f + k, x, R, from, to, foot, p)) continue;
                     T middle[2];
                     point(kRun * run + k, T(0.5) * (from + to) * f[kInverse * kRun + k], middle);
                     if (!sees(*this, x, middle, kRun * run + k, own)) continue;
                     const T mass = signed_mass(p, to - foot, R) - signed_mass(p, from - foot, R);
                     total += mass * mu / (T(1) + p * mu);
                   }
                 });
    return total;
  }

  // (6) Draws a point on the walls in the disc that face x, using u[0] to u[3], uniform in (0, 1).
  Drawn<T, 2> draw(const T (&x)[2], T R, const double (&u)[4]) const {
    Drawn<T, 2> drawn;
    const T R2 = R * R;
    double rest = u[0], chance = 1;
    const auto weights = [&](const auto& group) {
      const V left = R2 - group.distance2(x);
      return left > T(0) ? left * group.measure : V{};
    };
    const int64_t run = boxes_.draw(weights, rest, chance);
    if (run < 0) return drawn;
    const T* const f = walls_ + run * kWallFields * kRun;
    T from[kRun], to[kRun], foot[kRun], height[kRun], weight[kRun];
    for (int k = 0; k < kRun; ++k) {
      weight[k] = 0;
      if (!clip(f + k, x, R, from[k], to[k], foot[k], height[k])) continue;
      const T off = higher(higher(from[k] - foot[k], foot[k] - to[k]), T(0));
      weight[k] = (to[k] - from[k]) * (R2 - height[k] * height[k] - off * off);
    }
    const int k = Boxes<T, D>::choose(load<V>(weight), rest, chance);
    if (k < 0) return drawn;
    const T half = square_root(R2 - height[k] * height[k]), length = to[k] - from[k];
    const T t = u[1] < 0.5 ? from[k] + T(2 * u[1]) * length : foot[k] + (u[1] < 0.75 ? half : -half) * T(u[2] * u[3]);
    if (!(t >= from[k] && t <= to[k])) return drawn;
    const T off = higher(t < foot[k] ? foot[k] - t : t - foot[k], T(1e-12) * half);
    drawn.wall = kRun * run + k;
    drawn.corner_weights[0] = lower(t * f[kInverse * kRun + k], T(1));
    drawn.height = higher(height[k], T(0));
    drawn.density = chance * 0.5 * double(T(1) / length + (off < half ? T(elementary::log(half / off)) : T(0)) / (T(2) * half));
    point(drawn.wall, drawn.corner_weights[0], drawn.x);
    return drawn;
  }

 private:
  static constexpr int kLength = 4, kInverse = 5, kInverse2 = 6, kMu = 7, kRobin = 8, kExchange = 9, kConstant = 10, kWallFields = 11,
                       kCornerFields = 6;

  T of_wall(int64_t wall, int j) const { return *number(walls_, kWallFields, wall, j); }
  void point(int64_t wall, T t, T (&x)[2]) const {
    for (int j = 0; j < 2; ++j) x[j] = of_wall(wall, j) + t * of_wall(wall, 2 + j);
  }
  static Box<T, D> box_of_wall(const double* w) {
    const double ex = w[2] - w[0], ey = w[3] - w[1];
    return {{T(min(w[0], w[2])), T(min(w[1], w[3]))}, {T(max(w[0], w[2])), T(max(w[1], w[3]))}, T(square_root(ex * ex + ey * ey))};
  }
  static Box<T, D> box_of_corner(const double* c) { return {{T(c[0]), T(c[1])}, {T(c[0]), T(c[1])}, T(0)}; }

  // The part of the wall in the disc, as lengths from the wall's start, the foot of the perpendicular from x, and the height of x. Returns
  // false if the part is empty or x is behind the wall. f: the wall's lane of its run.
  QF_HD static bool clip(const T* f, const T (&x)[2], T R, T& from, T& to, T& foot, T& height) {
    const T px = x[0] - f[0], py = x[1] - f[kRun], ex = f[2 * kRun], ey = f[3 * kRun], inverse = f[kInverse * kRun];
    foot = (px * ex + py * ey) * inverse;
    height = (py * ex - px * ey) * inverse;
    const T half2 = R * R - height * height, half = square_root(higher(half2, T(0)));
    from = higher(foot - half, T(0));
    to = lower(foot + half, f[kLength * kRun]);
    return half2 > T(0) && from < to && height > -kSlack<T>;
  }
  QF_HD static T signed_mass(T p, T t, T R) {
    const T height = higher(p, T(0));
    return t < T(0) ? -line_mass(height, -t, R) : line_mass(height, t, R);
  }

  bool has_mu_ = false;
  T exchange_ = 0;
  Scratch<T> walls_, corners_;
  Boxes<T, D> boxes_, corner_boxes_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
