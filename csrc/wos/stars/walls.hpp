// What a walk asks the reflecting part of a polygon: eight walls or corners at a time.
#pragma once
#include "wos/stars/sight.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
class Walls {
 public:
  static constexpr int D = 2;
  using V = Lanes<T, kRun>;
  using I = Bits<V>;

  Walls(const Reflecting& of, double extent)
      : walls_(runs(of.M) * kWallFields * kRun),
        corners_(runs(of.K) * kCornerFields * kRun),
        boxes_(of.M, [&](int64_t i) { return box_of_wall(of.walls + kWallNumbers<D> * i); }),
        corner_boxes_(of.K, [&](int64_t i) { return box_of_corner(of.corners + kCornerNumbers<D> * i); }) {
    for (int64_t i = 0; i < runs(of.M) * kRun; ++i) {
      double f[kWallFields] = {1e12, 1e12, 0, 0, 0, 0, 0, 0, 0};
      if (i < of.M) {
        const double* const w = of.walls + kWallNumbers<D> * i;
        const double ex = w[2] - w[0], ey = w[3] - w[1], length = square_root(ex * ex + ey * ey);
        const double fields[kWallFields] = {w[0], w[1], ex, ey, length, 1 / length, 1 / (length * length), w[4] * extent, w[5]};
        __builtin_memcpy(f, fields, sizeof(f));
        absorbs_ = absorbs_ || w[4] > 0;
      }
      for (int j = 0; j < kWallFields; ++j) *field(walls_, kWallFields, i, j) = T(f[j]);
    }
    for (int64_t i = 0; i < runs(of.K) * kRun; ++i)
      for (int j = 0; j < kCornerFields; ++j)
        *field(corners_, kCornerFields, i, j) = i < of.K ? T(of.corners[kCornerNumbers<D> * i + j]) : T(j < 2 ? 1e12 : 0);
  }

  bool absorbs() const { return absorbs_; }  // some mu is positive
  T mu(int64_t wall) const { return *field(walls_, kWallFields, wall, kMu); }
  int which(int64_t wall) const { return int(*field(walls_, kWallFields, wall, kWhich)); }
  void inward(int64_t wall, T (&n)[2]) const {
    const T inverse = *field(walls_, kWallFields, wall, kInverse);
    n[0] = -*field(walls_, kWallFields, wall, 3) * inverse, n[1] = *field(walls_, kWallFields, wall, 2) * inverse;
  }
  // x moves to where the ray from it meets that wall, at t.
  void land(int64_t wall, const T (&d)[2], T t, T (&x)[2]) const {
    T a[2], e[2];
    for (int j = 0; j < 2; ++j) a[j] = *field(walls_, kWallFields, wall, j), e[j] = *field(walls_, kWallFields, wall, 2 + j);
    const T s = ((x[0] + t * d[0] - a[0]) * e[0] + (x[1] + t * d[1] - a[1]) * e[1]) * *field(walls_, kWallFields, wall, kInverse2);
    point(wall, lower(higher(s, T(0)), T(1)), x);
  }

  // The distance of the closest silhouette (2), or `radius` where none is closer.
  T silhouette(const T (&x)[2], T radius) const {
    T best = radius * radius;
    corner_boxes_.visit([&](const auto& group) { return group.distance2(x) < best; },
                        [&](int64_t run) {
                          const T* const f = corners_ + run * kCornerFields * kRun;
                          const V dx = x[0] - load<V>(f), dy = x[1] - load<V>(f + kRun);
                          const V one = dx * load<V>(f + 2 * kRun) + dy * load<V>(f + 3 * kRun);
                          const V two = dx * load<V>(f + 4 * kRun) + dy * load<V>(f + 5 * kRun);
                          const I hides = ~(((one > kSlack<T>)&(two > kSlack<T>)) | ((one < -kSlack<T>)&(two < -kSlack<T>)));
                          const V d2 = dx * dx + dy * dy;
                          for (unsigned at = bits(I(hides & (d2 < best))); at; at &= at - 1) best = lower(best, d2[first_bit(at)]);
                        });
    return square_root(best);
  }

  // The first wall that the ray meets from inside before `limit`, which becomes where, and whose line `end` is behind; -1 where there is
  // none. `own` does not count.
  int64_t hit(const T (&x)[2], const T (&d)[2], T& limit, int64_t own, T end = kNowhere<T>) const {
    T inverse[2];
    reciprocals(d, inverse);
    const V at[2] = {broadcast<V>(x[0]), broadcast<V>(x[1])}, along[2] = {broadcast<V>(d[0]), broadcast<V>(d[1])};
    int64_t wall = -1;
    boxes_.visit([&](const auto& group) { return group.crossed(x, inverse, limit, 4 * kSlack<T>); },
                 [&](int64_t run) {
                   const T* const f = walls_ + run * kWallFields * kRun;
                   const V t = ray_hit(at, along, load<V>(f), load<V>(f + kRun), load<V>(f + 2 * kRun), load<V>(f + 3 * kRun),
                                       load<V>(f + kInverse * kRun), limit, end, kSlack<T>, kNowhere<T>);
                   take_first(t, run, own, limit, wall);
                 });
    limit = higher(limit, T(0));
    return wall;
  }

  // The closest wall within `radius`, which becomes its distance; -1 where there is none. Of those with mu alone, or of all.
  int64_t closest(const T (&x)[2], T& radius, bool with_mu = false) const {
    T best = radius * radius;
    int64_t wall = -1;
    boxes_.visit([&](const auto& group) { return group.distance2(x) <= best; },
                 [&](int64_t run) {
                   const T* const f = walls_ + run * kWallFields * kRun;
                   V t;
                   const V d2 = polygon::segment_distance2(broadcast<V>(x[0]), broadcast<V>(x[1]), load<V>(f), load<V>(f + kRun),
                                                           load<V>(f + 2 * kRun), load<V>(f + 3 * kRun), load<V>(f + kInverse2 * kRun), t);
                   for (unsigned found = bits(I(d2 <= best)); found; found &= found - 1) {
                     const int k = first_bit(found);
                     if (!(d2[k] < best || wall < 0) || (with_mu && !(f[kMu * kRun + k] > T(0)))) continue;
                     best = d2[k], wall = kRun * run + k;
                   }
                 });
    if (wall >= 0) radius = square_root(best);
    return wall;
  }

  // (4) The integral of G mu / (1 + p mu) over what is seen of the walls in the disc.
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

  // (6) A point of the walls in the disc that face x, by u[0] to u[3] uniform in (0, 1).
  Drawn<T, 2> draw(const T (&x)[2], T R, const double (&u)[4]) const {
    Drawn<T, 2> found;
    const T R2 = R * R;
    double rest = u[0], chance = 1;
    const auto weights = [&](const auto& group) {
      const V left = R2 - group.distance2(x);
      return left > T(0) ? left * group.measure : V{};
    };
    const int64_t run = boxes_.draw(weights, rest, chance);
    if (run < 0) return found;
    const T* const f = walls_ + run * kWallFields * kRun;
    T from[kRun], to[kRun], foot[kRun], height[kRun], weight[kRun];
    for (int k = 0; k < kRun; ++k) {
      weight[k] = 0;
      if (!clip(f + k, x, R, from[k], to[k], foot[k], height[k])) continue;
      const T off = higher(higher(from[k] - foot[k], foot[k] - to[k]), T(0));
      weight[k] = (to[k] - from[k]) * (R2 - height[k] * height[k] - off * off);
    }
    const int k = Boxes<T, D>::choose(load<V>(weight), rest, chance);
    if (k < 0) return found;
    const T half = square_root(R2 - height[k] * height[k]), length = to[k] - from[k];
    const T t = u[1] < 0.5 ? from[k] + T(2 * u[1]) * length : foot[k] + (u[1] < 0.75 ? half : -half) * T(u[2] * u[3]);
    if (!(t >= from[k] && t <= to[k])) return found;
    const T off = higher(t < foot[k] ? foot[k] - t : t - foot[k], T(1e-12) * half);
    found.wall = kRun * run + k;
    found.place[0] = lower(t * f[kInverse * kRun + k], T(1));
    found.height = higher(height[k], T(0));
    found.density = chance * 0.5 * double(T(1) / length + (off < half ? T(elementary::log(half / off)) : T(0)) / (T(2) * half));
    point(found.wall, found.place[0], found.x);
    return found;
  }

 private:
  static constexpr int kWallFields = 9, kCornerFields = 6, kLength = 4, kInverse = 5, kInverse2 = 6, kMu = 7, kWhich = 8;

  static int64_t runs(int64_t n) { return (n + kRun - 1) / kRun; }
  static T* field(const Scratch<T>& of, int fields, int64_t i, int j) { return of + (i / kRun * fields + j) * kRun + i % kRun; }
  void point(int64_t wall, T place, T (&x)[2]) const {
    for (int j = 0; j < 2; ++j) x[j] = *field(walls_, kWallFields, wall, j) + place * *field(walls_, kWallFields, wall, 2 + j);
  }
  static Box<T, D> box_of_wall(const double* w) {
    const double ex = w[2] - w[0], ey = w[3] - w[1];
    return {{T(min(w[0], w[2])), T(min(w[1], w[3]))}, {T(max(w[0], w[2])), T(max(w[1], w[3]))}, T(square_root(ex * ex + ey * ey))};
  }
  static Box<T, D> box_of_corner(const double* c) { return {{T(c[0]), T(c[1])}, {T(c[0]), T(c[1])}, T(0)}; }

  // The part of the wall in the disc, as lengths from its beginning; the foot of the perpendicular and its height. False where there is
  // none, or where x looks at its back. f: the wall's lane of its run.
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

  bool absorbs_ = false;
  Scratch<T> walls_, corners_;
  Boxes<T, D> boxes_, corner_boxes_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
