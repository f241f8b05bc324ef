// How far a ball, a box or a field of signed distances is from one walk on a GPU, inside or outside, and how walks come back that are far
// away. Nobody has looked at the numbers: a field whose sizes do not fit its row is not sound.
#pragma once
#include "core/lanes/hd.hpp"
#include "wos/data/formula.hpp"
#include "wos/mesh/cuda.hpp"
#include "wos/solid/args.hpp"
#include "wos/solid/formula.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

using polygon::Seen;

constexpr int kSteps = 8;  // of a field's projection (3) at most

template <int D, class T>
__device__ __forceinline__ T length_of(const T (&x)[D]) {
  T r2{};
  for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
  return square_root(r2);
}
// The closest point of the unit sphere: of its centre any.
template <int D, class T>
__device__ __forceinline__ void project_on_ball(T (&x)[D]) {
  const T r = length_of<D>(x), scale = r > 0 ? T(1) / r : T(0);
  for (int i = 0; i < D; ++i) x[i] *= scale;
  if (!(r > 0)) x[0] = 1;
}
// Of a box, from either side.
template <int D, class T>
__device__ __forceinline__ void project_on_box(const double* half, T (&x)[D]) {
  double best = -1e300;
  int axis = 0;
  for (int j = 0; j < D; ++j) {
    const double here = double(x[j]), excess = (here < 0 ? -here : here) - half[j];
    axis = excess > best ? j : axis;
    best = excess > best ? excess : best;
  }
  for (int j = 0; j < D; ++j) {
    const double here = double(x[j]), at = min(max(here, -half[j]), half[j]);
    x[j] = T(!(best > 0) && j == axis ? (here < 0 ? -half[j] : half[j]) : at);
  }
}

template <class T, int dimension>
struct Ball {
  static constexpr int D = dimension;
  static constexpr bool outside = false;
  __device__ bool sound() const { return true; }
  __device__ Seen<T> look(const T (&x)[D], int64_t, bool) const { return {T(1) - length_of<D>(x), 0}; }
  __device__ void project(T (&x)[D], int64_t&, T (&)[D - 1]) const { project_on_ball<D>(x); }
  __device__ bool escaped(const T (&)[D]) const { return false; }
};

// A box, by half its sides, or a field, by its row: README, The row of a field.
template <class T, int dimension>
class Inside {
 public:
  static constexpr int D = dimension;
  static constexpr bool outside = false;

  Inside() = default;
  __device__ Inside(const double* row, int64_t width) : row_(row), is_box_(width == D) {
    int64_t count = 1;
    const int64_t room = width - field_head(D);
    sound_ = is_box_ || (room > 0 && row[0] > 0);
    for (int i = 0; !is_box_ && i < D; ++i) {
      sound_ = sound_ && row[1 + i] >= 2 && row[1 + i] <= double(room / count) && row[1 + D + i] < row[1 + 2 * D + i];
      nodes_[i] = sound_ ? int64_t(row[1 + i]) : 2;
      count *= nodes_[i];
    }
  }
  __device__ bool sound() const { return sound_; }
  // Reads the box's row; of a field 2^D values.
  __device__ Seen<T> look(const T (&x)[D], int64_t, bool) const {
    if (is_box_) {
      T radius = T(1e30);
      for (int i = 0; i < D; ++i) radius = lower(radius, T(T(row_[i]) - (x[i] < 0 ? -x[i] : x[i])));
      return {radius, 0};
    }
    if (beyond(x)) return {T(0), 0};
    double at[D];
    for (int i = 0; i < D; ++i) at[i] = double(x[i]);
    return {-T(field(at, nullptr)) * T(1 / row_[0]), 0};
  }
  __device__ void project(T (&x)[D], int64_t&, T (&)[D - 1]) const {
    if (is_box_) return project_on_box<D>(row_, x);
    double at[D];
    for (int i = 0; i < D; ++i) at[i] = double(x[i]);
    QF_ROLLED
    for (int k = 0; k < kSteps; ++k) {  // (3)
      double slopes[D], steepness = 0;
      const double value = field(at, slopes);
      for (int i = 0; i < D; ++i) steepness += slopes[i] * slopes[i];
      if (!(steepness > 1e-12) || (value < 1e-14 && value > -1e-14)) break;
      for (int i = 0; i < D; ++i) at[i] = min(max(at[i] - value * slopes[i] / steepness, row_[1 + D + i]), row_[1 + 2 * D + i]);
    }
    for (int i = 0; i < D; ++i) x[i] = T(at[i]);
  }
  __device__ bool escaped(const T (&x)[D]) const { return !is_box_ && beyond(x); }

 private:
  __device__ bool beyond(const T (&x)[D]) const {
    bool out = false;
    for (int i = 0; i < D; ++i) out = out || double(x[i]) < row_[1 + D + i] || double(x[i]) > row_[1 + 2 * D + i];
    return out;
  }
  __device__ double field(const double (&x)[D], double* slopes) const {
    double frame[D + 1] = {}, v[1 << D];  // coordinates of the row are scaled, as x is
    frame[D] = 1;
    const double* const box = row_ + 1 + D;
    const auto cell = data::cells<double, D>(box, nodes_, frame, x);
    data::corners<D, double>(row_ + field_head(D), nodes_, cell.node, v);
    for (int i = 0; slopes && i < D; ++i) slopes[i] = data::slope<D>(v, cell.place, i) * (double(nodes_[i] - 1) / (box[D + i] - box[i]));
    return data::interpolated<D>(v, cell.place);
  }
  const double* row_ = nullptr;
  int64_t nodes_[D] = {};
  bool is_box_ = false, sound_ = false;
};

// Outside of a ball, of a box, or of a mesh in its cube of side 1.
template <class T>
class Outside {
 public:
  static constexpr int D = 3;
  static constexpr bool outside = true;

  Outside() = default;
  // half: of a box, or null; the mesh may have no triangles: then it is none.
  __device__ Outside(const double* half, const mesh::Mesh<T>& mesh, double epsilon)
      : half_(half), mesh_(mesh), near_(near_cube<T>(epsilon)) {
    double r2 = 0;
    for (int i = 0; i < D; ++i) r2 += double(side(i)) * double(side(i));
    sphere_ = is_ball() ? T(1) : T(square_root(r2));
    far_ = is_ball() ? T(1) : T(kNearSphere) * sphere_;
  }
  __device__ bool sound() const { return true; }
  // The closest triangle, or from far away a bound, unless the walk ends here.
  __device__ Seen<T> look(const T (&x)[D], int64_t near, bool is_last) const {
    if (is_ball()) return {length_of<D>(x) - T(1), 0};
    T d2{}, most = T(-1);
    for (int i = 0; i < D; ++i) {
      const T excess = (x[i] < 0 ? -x[i] : x[i]) - side(i), positive = higher(excess, T(0));
      d2 += positive * positive;
      most = higher(most, excess);
    }
    const T box = most > 0 ? square_root(d2) : most;
    if (!mesh_.sound()) return {box, 0};
    return box < near_ || is_last ? mesh_.look(x, near, is_last) : Seen<T>{box, -1};
  }
  __device__ void project(T (&x)[D], int64_t& primitive, T (&where)[D - 1]) const {
    if (mesh_.sound())
      mesh_.project(x, primitive, where);
    else if (half_)
      project_on_box<D>(half_, x);
    else
      project_on_ball<D>(x);
  }
  __device__ bool escaped(const T (&)[D]) const { return false; }

  // Beyond the sphere, where `far`, a walk comes back to y, with the weight 1, or to infinity, with 0. Two uniform numbers and an angle.
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
