// A field of signed distances between the nodes of a grid, or of a function, in double precision. README (2), (3).
#pragma once
#include "wos/data/formula.hpp"
#include "wos/solid/args.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

constexpr double kStep = 1e-5;   // of a function's slopes: their error is about its square, or the rounding of x over it
constexpr int kProjections = 8;  // steps of (3) at most: one is enough within epsilon of the boundary

template <int D>
class Distances {
 public:
  explicit Distances(const Solid& solid) : solid_(solid), row_(solid.field) {
    for (int i = 0; i < D; ++i) nodes_[i] = int64_t(row_[1 + i]);
  }
  bool beyond(int axis, double x) const { return x < row_[1 + D + axis] || x > row_[1 + 2 * D + axis]; }

  // At W points, and its slopes where they are asked for. Beyond its box the field is that of the nearest point of it. Reads 2^D values, or
  // calls the function once.
  template <class E>
  E at(const E (&x)[D], E* slopes = nullptr) const {
    if (solid_.function) return of_function(x, slopes);
    double frame[D + 1] = {};  // coordinates of the row are scaled, as x is
    frame[D] = 1;
    const double* const box = row_ + 1 + D;
    const auto cell = data::cells<E, D>(box, nodes_, frame, x);
    E v[1 << D];
    data::corners(row_ + field_head(D), nodes_, cell.node, v);
    for (int i = 0; slopes && i < D; ++i) slopes[i] = data::slope<D>(v, cell.place, i) * (double(nodes_[i] - 1) / (box[D + i] - box[i]));
    return data::interpolated<D>(v, cell.place);
  }
  // (3), again until it is on the boundary within rounding. Returns the field where x was.
  double project(double (&x)[D]) const {
    double first = 0;
    for (int k = 0; k < kProjections; ++k) {
      double slopes[D], steepness = 0;
      const double value = at<double>(x, slopes);
      if (k == 0) first = value;
      for (int i = 0; i < D; ++i) steepness += slopes[i] * slopes[i];
      if (!(steepness > 1e-12) || (value < 1e-14 && value > -1e-14)) break;
      for (int i = 0; i < D; ++i) x[i] = clamped(i, x[i] - value * slopes[i] / steepness);
    }
    return first;
  }

 private:
  double clamped(int axis, double x) const { return min(max(x, row_[1 + D + axis]), row_[1 + 2 * D + axis]); }
  template <class E>
  E of_function(const E (&x)[D], E* slopes) const {
    constexpr int W = kWidth<E>, most = W * (1 + 2 * D);
    const double* const centre = row_ + field_head(D);
    const double extent = centre[D];
    const int n = slopes ? most : W;
    double at[W][D], points[most][D], values[most];
    for (int i = 0; i < D; ++i) {
      alignas(64) double lanes[W];
      store(lanes, x[i]);
      for (int l = 0; l < W; ++l) at[l][i] = lanes[l];
    }
    for (int k = 0; k < n; ++k)  // the points, and beside them forwards and back along every axis
      for (int i = 0; i < D; ++i) {
        const int moved = k / W - 1;
        const double step = moved >= 0 && moved / 2 == i ? (moved % 2 ? -kStep : kStep) : 0;
        points[k][i] = centre[i] + extent * (clamped(i, at[k % W][i]) + step);
      }
    solid_.function(solid_.context, 0, n, points[0], values);
    for (int k = 0; k < n; ++k) values[k] /= extent;
    for (int i = 0; slopes && i < D; ++i) {
      alignas(64) double lanes[W];
      for (int l = 0; l < W; ++l) lanes[l] = (values[W * (1 + 2 * i) + l] - values[W * (2 + 2 * i) + l]) * (0.5 / kStep);
      slopes[i] = load<E>(lanes);
    }
    return load<E>(values);
  }

  const Solid& solid_;
  const double* const row_;
  int64_t nodes_[D];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
