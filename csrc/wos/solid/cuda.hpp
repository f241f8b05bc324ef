// The distance of one walk on a GPU from a ball, a box or a signed distance field, from inside or outside, and the return of distant walks.
// Values are unchecked; `sound` is false for a field whose sizes do not match its row.
#pragma once
#include "core/lanes/hd.hpp"
#include "wos/mesh/cuda.hpp"
#include "wos/solid/args.hpp"
#include "wos/solid/formula.hpp"
#include "wos/solid/formula_exact.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

using polygon::Seen;

template <int D, class T>
__device__ __forceinline__ T length_of(const T (&x)[D]) {
  T r2{};
  for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
  return square_root(r2);
}
// Applies f to x in double precision.
template <int D, class T, class F>
__device__ __forceinline__ void project_by(T (&x)[D], const F& f) {
  double at[D];
  for (int i = 0; i < D; ++i) at[i] = double(x[i]);
  f(at);
  for (int i = 0; i < D; ++i) x[i] = T(at[i]);
}
template <int D, class T>
__device__ __forceinline__ void project_on_box(const double* half, T (&x)[D]) {
  project_by(x, [=](double* at) { nearest_on_box(half, D, at, at); });
}

template <class T, int dimension>
struct Ball {
  static constexpr int D = dimension;
  static constexpr bool outside = false;
  __device__ bool sound() const { return true; }
  __device__ Seen<T> look(const T (&x)[D], int64_t, bool) const { return {T(1) - length_of<D>(x), 0}; }
  __device__ void project(T (&x)[D], int64_t&, T (&)[D - 1]) const { project_on_ball(x); }
  __device__ bool escaped(const T (&)[D]) const { return false; }
};

// A box, given by half its sides, or a field, given by its row (README, The row of a field).
template <class T, int dimension>
class Inside {
 public:
  static constexpr int D = dimension;
  static constexpr bool outside = false;

  Inside() = default;
  __device__ Inside(const double* row, int64_t width) : field_{row, row + field_head(D), {}}, is_box_(width == D) {
    int64_t count = 1;
    const int64_t available = width - field_head(D);
    sound_ = is_box_ || (available > 0 && row[0] > 0);
    for (int i = 0; !is_box_ && i < D; ++i) {
      sound_ = sound_ && row[1 + i] >= 2 && row[1 + i] <= double(available / count) && row[1 + D + i] < row[1 + 2 * D + i];
      field_.nodes[i] = sound_ ? int64_t(row[1 + i]) : 2;
      count *= field_.nodes[i];
    }
  }
  __device__ bool sound() const { return sound_; }
  // Reads the box's row, or 2^D values of a field.
  __device__ Seen<T> look(const T (&x)[D], int64_t, bool) const {
    if (is_box_) {
      T radius = T(1e30);
      for (int i = 0; i < D; ++i) radius = lower(radius, T(T(field_.row[i]) - (x[i] < 0 ? -x[i] : x[i])));
      return {radius, 0};
    }
    if (beyond(x)) return {T(0), 0};
    double at[D];
    for (int i = 0; i < D; ++i) at[i] = double(x[i]);
    return {-T(field_.at(at, static_cast<double*>(nullptr))) * T(1 / field_.row[0]), 0};
  }
  __device__ void project(T (&x)[D], int64_t&, T (&)[D - 1]) const {
    if (is_box_) return project_on_box(field_.row, x);
    const auto value = [this](const double (&at)[D], double* slopes) { return field_.at(at, slopes); };
    project_by(x, [&](double (&at)[D]) { project_on_field(field_, at, value); });
  }
  __device__ bool escaped(const T (&x)[D]) const { return !is_box_ && beyond(x); }

 private:
  __device__ bool beyond(const T (&x)[D]) const {
    bool out = false;
    for (int i = 0; i < D; ++i) out = out || field_.beyond(i, double(x[i]));
    return out;
  }
  GridDistances<D> field_;  // its row also stores a box
  bool is_box_ = false, sound_ = false;
};

// The exterior of a ball, a box, or a mesh in its cube of side 1.
template <class T>
class Outside {
 public:
  static constexpr int D = 3;
  static constexpr bool outside = true;

  Outside() = default;
  // half: half sides of a box, or null. A mesh without triangles is ignored.
  __device__ Outside(const double* half, const mesh::Mesh<T>& mesh, double epsilon)
      : half_(half), mesh_(mesh), near_(near_cube<T>(epsilon)) {
    double r2 = 0;
    for (int i = 0; i < D; ++i) r2 += double(side(i)) * double(side(i));
    sphere_ = is_ball() ? T(1) : T(square_root(r2));
    far_ = is_ball() ? T(1) : T(kNearSphere) * sphere_;
  }
  __device__ bool sound() const { return true; }
  // The distance to the closest triangle, or a bound if the walk is far away and does not end here.
  __device__ Seen<T> look(const T (&x)[D], int64_t near, bool is_last) const {
    if (is_ball()) return {length_of<D>(x) - T(1), 0};
    T half[D];
    for (int i = 0; i < D; ++i) half[i] = side(i);
    const T box = distance_from_box(x, half);
    if (!mesh_.sound()) return {box, 0};
    return box < near_ || is_last ? mesh_.look(x, near, is_last) : Seen<T>{box, -1};
  }
  __device__ void project(T (&x)[D], int64_t& primitive, T (&where)[D - 1]) const {
    if (mesh_.sound())
      mesh_.project(x, primitive, where);
    else if (half_)
      project_on_box(half_, x);
    else
      project_on_ball(x);
  }
  __device__ bool escaped(const T (&)[D]) const { return false; }

  // A walk beyond the sphere (`far`) returns to y with weight 1, or goes to infinity, with weight 0. Uses two uniform numbers and an angle.
  __device__ bool far(const T (&x)[D]) const { return length_of<D>(x) > far_; }
  __device__ T come_back(const T (&x)[D], T u, T v, T cosine, T sine, T (&y)[D]) const {
    const T r = length_of<D>(x);
    return_to_sphere<T>(sphere_, r, x, v, cosine, sine, y);
    return u * r < sphere_ ? T(1) : T(0);
  }

 private:
  __device__ bool is_ball() const { return !half_ && !mesh_.sound(); }
  __device__ T side(int i) const { return mesh_.sound() ? T(0.5) : half_ ? T(half_[i]) : T(0); }
  const double* half_ = nullptr;
  mesh::Mesh<T> mesh_;
  T near_ = 0, sphere_ = 0, far_ = 0;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
