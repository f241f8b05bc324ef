// The reflecting triangles of a mesh, processed eight triangles or edges at a time.
#pragma once
#include "wos/stars/visibility.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class T>
class Reflecting3D {
 public:
  static constexpr int D = 3;
  using V = Eight<T>;

  Reflecting3D(const Reflecting& tables, double extent)
      : triangles_(runs(tables.M) * kTriangleFields * kRun),
        edges_(runs(tables.K) * kEdgeFields * kRun),
        boxes_(tables.M, [&](int64_t i) { return box_of_triangle(tables.walls + kWallNumbers<D> * i); }),
        edge_boxes_(tables.K, [&](int64_t i) { return box_of<2>(tables.corners + kCornerNumbers<D> * i, 0); }) {
    for (int64_t i = 0; i < runs(tables.M) * kRun; ++i) {
      double r[mesh::kFields] = {1e12, 1e12, 1e12};
      r[mesh::kNormal] = 1;  // padding, far away
      double mu = 0, robin = 0, bound = 0, constant = 0;
      int rotation = 0;
      if (i < tables.M) {
        const double* const w = tables.walls + kWallNumbers<D> * i;
        double corner[9];
        for (int j = 0; j < 9; ++j) corner[j] = w[j];
        rotation = mesh::triangle_record(corner, r);
        mu = w[9] * extent, robin = w[10], bound = tables.exchange ? tables.exchange[2 * i] * extent : 0;
        constant = tables.exchange ? tables.exchange[2 * i + 1] * extent : 0;
        has_mu_ = has_mu_ || mu > 0, exchange_ = higher(exchange_, T(bound));
      }
      for (int j = 0; j < mesh::kFields; ++j) *number(triangles_, kTriangleFields, i, j) = T(r[j]);
      *number(triangles_, kTriangleFields, i, kArea) = T(0.5 * r[mesh::kLength] * r[mesh::kY]);
      *number(triangles_, kTriangleFields, i, kRotation) = T(rotation);
      *number(triangles_, kTriangleFields, i, kMu) = T(mu);
      *number(triangles_, kTriangleFields, i, kRobin) = T(robin);
      *number(triangles_, kTriangleFields, i, kExchange) = T(bound);
      *number(triangles_, kTriangleFields, i, kConstant) = T(constant);
    }
    for (int64_t i = 0; i < runs(tables.K) * kRun; ++i) {
      double f[kEdgeFields] = {1e12, 1e12, 1e12};
      if (i < tables.K) {
        const double* const c = tables.corners + kCornerNumbers<D> * i;
        double length2 = 0;
        for (int j = 0; j < 3; ++j) f[j] = c[j], f[3 + j] = c[3 + j] - c[j], length2 += f[3 + j] * f[3 + j];
        f[6] = length2 > 0 ? 1 / length2 : 0;
        for (int j = 0; j < 6; ++j) f[7 + j] = c[6 + j];
      }
      for (int j = 0; j < kEdgeFields; ++j) *number(edges_, kEdgeFields, i, j) = T(f[j]);
    }
  }

  bool has_mu() const { return has_mu_; }  // whether any mu is positive
  // (12) The largest bound on |nu_0|, the bound on one wall, and the constant part of nu_0 there. All are 0 without a medium.
  T exchange() const { return exchange_; }
  T exchange(int64_t wall) const { return *number(triangles_, kTriangleFields, wall, kExchange); }
  T constant(int64_t wall) const { return *number(triangles_, kTriangleFields, wall, kConstant); }
  T mu(int64_t wall) const { return *number(triangles_, kTriangleFields, wall, kMu); }
  bool is_robin(int64_t wall) const { return *number(triangles_, kTriangleFields, wall, kRobin) != 0; }
  void inward(int64_t wall, T (&n)[3]) const {
    for (int j = 0; j < 3; ++j) n[j] = -*number(triangles_, kTriangleFields, wall, mesh::kNormal + j);
  }
  // Moves x to the point where its ray meets the triangle, at t.
  void land(int64_t wall, const T (&d)[3], T t, T (&x)[3]) const {
    const auto r = one(wall);
    for (int j = 0; j < 3; ++j) x[j] += t * d[j];
    mesh::Local<T> at = mesh::local<T>(x, r);
    mesh::triangle_distance2<true, T>(at, r);
    point(r, at.u, at.v, x);
  }
  T silhouette(const T (&x)[3], T radius) const {
    return closest_silhouette(edge_boxes_, x, radius, [&](int64_t run) {
      const T* const f = edges_ + run * kEdgeFields * kRun;
      V p[3], first{}, second{}, along{}, d2{};
      for (int j = 0; j < 3; ++j) {
        p[j] = x[j] - load<V>(f + j * kRun);
        along += p[j] * load<V>(f + (3 + j) * kRun);
        first += p[j] * load<V>(f + (7 + j) * kRun);
        second += p[j] * load<V>(f + (10 + j) * kRun);
      }
      const V s = mesh::clamp01(V(along * load<V>(f + 6 * kRun)));
      for (int j = 0; j < 3; ++j) {
        const V d = p[j] - s * load<V>(f + (3 + j) * kRun);
        d2 += d * d;
      }
      return faces_alike(first, second) ? broadcast<V>(kNowhere<T>) : d2;
    });
  }
  // (8) Calls first_wall for this boundary. Considers only triangles with x + end d beyond their planes.
  int64_t hit(const T (&x)[3], const T (&d)[3], T& limit, int64_t own, T end = kNowhere<T>) const {
    V at[3], along[3];
    for (int j = 0; j < 3; ++j) at[j] = broadcast<V>(x[j]), along[j] = broadcast<V>(d[j]);
    return first_wall(boxes_, x, d, limit, own, [&](int64_t run) {
      V u, v;
      return ray_hit_triangle(at, along, eight(run), limit, end, kSlack<T>, kNowhere<T>, u, v);
    });
  }
  // Calls closest_wall for this boundary, for all triangles or only for those with a mu.
  int64_t closest(const T (&x)[3], T& radius, bool with_mu = false) const {
    V at[3];
    for (int j = 0; j < 3; ++j) at[j] = broadcast<V>(x[j]);
    return closest_wall(boxes_, x, radius, [&](int64_t run) {
      mesh::Local<V> here = mesh::local<V>(at, eight(run));
      const V d2 = mesh::triangle_distance2<false, V>(here, eight(run));
      return !with_mu ? d2 : eight(run)(kMu) > T(0) ? d2 : broadcast<V>(kNowhere<T>);
    });
  }

  // (4) The integral of G mu / (1 + p mu) over the visible parts of the triangles in the ball.
  T robin_mass(const T (&x)[3], T R, int64_t own) const {
    T total = 0;
    boxes_.visit([&](const auto& group) { return group.distance2(x) < R * R; },
                 [&](int64_t run) {
                   for (int64_t wall = kRun * run; wall < kRun * (run + 1); ++wall) {
                     if (!(mu(wall) > T(0))) continue;
                     const auto r = one(wall);
                     const mesh::Local<T> foot = mesh::local<T>(x, r);
                     mesh::Local<T> closest = foot;
                     const T d2 = mesh::triangle_distance2<true, T>(closest, r);
                     if (!(d2 < R * R) || !(foot.w < kSlack<T>)) continue;
                     T z[3];
                     point(r, closest.u, closest.v, z);
                     const T p = higher(-foot.w, T(0));
                     if (sees(*this, x, z, wall, own)) total += ball_mass(r, foot.u, foot.v, p, R) * mu(wall) / (T(1) + p * mu(wall));
                   }
                 });
    return total;
  }

  // (6) Draws a point on the triangles in the ball that face x, using u[0] to u[3], uniform in (0, 1).
  Drawn<T, 3> draw(const T (&x)[3], T R, const double (&u)[4]) const {
    Drawn<T, 3> drawn;
    const T R2 = R * R;
    double rest = u[0], chance = 1;
    const auto weights = [&](const auto& group) {
      const V left = R2 - group.distance2(x);
      return left > T(0) ? left * lower(group.measure, broadcast<V>(T(kPi) * R2)) : V{};
    };
    const int64_t run = boxes_.draw(weights, rest, chance);
    if (run < 0) return drawn;
    V at[3];
    for (int j = 0; j < 3; ++j) at[j] = broadcast<V>(x[j]);
    const auto field = eight(run);
    mesh::Local<V> here = mesh::local<V>(at, field), closest = here;
    const V left = R2 - mesh::triangle_distance2<false, V>(closest, field), disc = T(kPi) * (R2 - here.w * here.w);
    const V weight = ((left > T(0)) & (disc > T(0)) & (here.w < kSlack<T>)) ? left * lower(field(kArea), disc) : V{};
    const int k = Boxes<T, D>::choose(weight, rest, chance);
    if (k < 0) return drawn;
    const int64_t wall = kRun * run + k;
    const auto r = one(wall);
    const T foot[2] = {here.u[k], here.v[k]};
    T p[2];
    drawn.density = chance * on_triangle(r, foot, disc[k] * T(1 / kPi), u, p);
    if (!(drawn.density > 0)) return drawn;
    drawn.wall = wall;
    drawn.height = higher(-here.w[k], T(0));
    point(r, p[0], p[1], drawn.x);
    weights_at(r, p[0], p[1], drawn.corner_weights);
    return drawn;
  }

 private:
  static constexpr int kArea = mesh::kFields, kRotation = kArea + 1, kMu = kRotation + 1, kRobin = kMu + 1, kExchange = kRobin + 1;
  static constexpr int kConstant = kExchange + 1, kTriangleFields = kConstant + 1;
  static constexpr int kEdgeFields = 13;
  static constexpr double kPi = 3.14159265358979323846;

  // (5') The integral of G over the part of a triangle in the ball around a point with foot (u, v) and height p.
  template <class Field>
  QF_HD static T ball_mass(const Field& r, T u, T v, T p, T R) {
    const T corner[3][2] = {{0, 0}, {r(mesh::kLength), 0}, {r(mesh::kX), r(mesh::kY)}};
    T total = 0;
    for (int i = 0; i < 3; ++i) {
      const T(&a)[2] = corner[i], (&b)[2] = corner[(i + 1) % 3];
      T e[2] = {b[0] - a[0], b[1] - a[1]};
      const T length = square_root(e[0] * e[0] + e[1] * e[1]);
      e[0] /= length, e[1] /= length;
      const T along = (u - a[0]) * e[0] + (v - a[1]) * e[1], h = (v - a[1]) * e[0] - (u - a[0]) * e[1];
      const T mass = edge_mass(p, h < T(0) ? -h : h, -along, length - along, R);
      total += h < T(0) ? -mass : mass;
    }
    return total * T(0.07957747154594766788);
  }
  // The fields of a run, and of one triangle.
  auto eight(int64_t run) const {
    const T* const f = triangles_ + run * kTriangleFields * kRun;
    return [f](int j) { return load<V>(f + j * kRun); };
  }
  auto one(int64_t wall) const {
    const T* const f = triangles_ + wall / kRun * kTriangleFields * kRun + wall % kRun;
    return [f](int j) { return f[j * kRun]; };
  }
  template <class Field>
  QF_HD static void point(const Field& r, T u, T v, T (&x)[3]) {
    for (int j = 0; j < 3; ++j) x[j] = r(mesh::kOrigin + j) + u * r(mesh::kAlong + j) + v * r(mesh::kAcross + j);
  }
  // The barycentric weights of the triangle's second and third corners, in the order of the input.
  template <class Field>
  QF_HD static void weights_at(const Field& r, T u, T v, T (&corner_weights)[2]) {
    T rotated[3], weight[3];
    mesh::triangle_weights(u, v, r(mesh::kLength), r(mesh::kX), r(mesh::kY), rotated);
    const int rotation = int(r(kRotation));
    for (int k = 0; k < 3; ++k) weight[(rotation + k) % 3] = rotated[k];
    corner_weights[0] = weight[1], corner_weights[1] = weight[2];
  }

  // Draws a point p of the triangle in its plane and returns its density. The point is uniform, or on a circle around the foot of x. The
  // circle's radius is uniform up to the farthest corner, or up to the circle in which the plane cuts the ball if that is smaller. The
  // density is 0 if p is outside the triangle.
  template <class Field>
  QF_HD static double on_triangle(const Field& r, const T (&foot)[2], T chord2, const double (&u)[4], T (&p)[2]) {
    const T length = r(mesh::kLength), cx = r(mesh::kX), cy = r(mesh::kY), area = r(kArea);
    const auto away2 = [&](T a, T b) { return (a - foot[0]) * (a - foot[0]) + (b - foot[1]) * (b - foot[1]); };
    const T reach2 = lower(chord2, higher(away2(T(0), T(0)), higher(away2(length, T(0)), away2(cx, cy)))), reach = square_root(reach2);
    const double plain = kPi * double(reach2) / (kPi * double(reach2) + double(area));
    if (u[1] < plain) {
      const T root = square_root(T(u[2])), c = root * T(u[3]);
      p[0] = (root - c) * length + c * cx, p[1] = c * cy;
    } else {
      V sine, cosine;
      walk::sincos_turn<V>(walk::Words<V>{} + uint32_t(u[3] * 0x1p32), sine, cosine);
      p[0] = foot[0] + reach * T(u[2]) * cosine[0], p[1] = foot[1] + reach * T(u[2]) * sine[0];
      const T ex = cx - length;
      if (!(p[1] >= T(0) && ex * p[1] - cy * (p[0] - length) >= T(0) && cy * p[0] - cx * p[1] >= T(0))) return 0;
    }
    const double rho = square_root(double(higher(away2(p[0], p[1]), T(1e-20) * reach2)));
    return plain / double(area) + (1 - plain) / (2 * kPi * double(reach) * rho);
  }

  template <int corners>
  static Box<T, D> box_of(const double* c, double area) {
    Box<T, D> box;
    box.measure = T(area);
    for (int j = 0; j < 3; ++j) {
      double low = c[j], high = c[j];
      for (int k = 1; k < corners; ++k) low = min(low, c[3 * k + j]), high = max(high, c[3 * k + j]);
      box.low[j] = T(low), box.high[j] = T(high);
    }
    return box;
  }
  static Box<T, D> box_of_triangle(const double* wall) {
    double corner[9], r[mesh::kFields];
    for (int j = 0; j < 9; ++j) corner[j] = wall[j];
    mesh::triangle_record(corner, r);
    return box_of<3>(wall, 0.5 * r[mesh::kLength] * r[mesh::kY]);
  }

  bool has_mu_ = false;
  T exchange_ = 0;
  Scratch<T> triangles_, edges_;
  Boxes<T, D> boxes_, edge_boxes_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
