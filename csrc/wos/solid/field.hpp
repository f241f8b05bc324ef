// A signed distance field, given at the nodes of a grid or by a function, in double precision. README (2), (3).
#pragma once
#include "wos/solid/args.hpp"
#include "wos/solid/formula_exact.hpp"

namespace quatrefoil::wos::solid {
inline namespace QF_ISA {

constexpr double kStep = 1e-5;  // finite difference step of a function; the error is about kStep^2 plus (the rounding of x) / kStep

template <int D>
class Distances {
 public:
  explicit Distances(const Solid& solid) : solid_(solid), grid_{solid.field, solid.field + field_head(D), {}} {
    for (int i = 0; i < D; ++i) grid_.nodes[i] = int64_t(grid_.row[1 + i]);
  }
  bool beyond(int axis, double x) const { return grid_.beyond(axis, x); }
  // Evaluates at W points, with slopes if requested. Reads 2^D values, or calls the function once.
  template <class E>
  E at(const E (&x)[D], E* slopes = nullptr) const {
    return solid_.function ? of_function(x, slopes) : grid_.at(x, slopes);
  }
  double project(double (&x)[D]) const {
    return project_on_field(grid_, x, [&](const double (&at_x)[D], double* slopes) { return at<double>(at_x, slopes); });
  }

 private:
  template <class E>
  E of_function(const E (&x)[D], E* slopes) const {
    constexpr int W = kWidth<E>, max_points = W * (1 + 2 * D);
    const double* const centre = grid_.values;
    const double extent = centre[D];
    const int n = slopes ? max_points : W;
    double at[W][D], points[max_points][D], values[max_points];
    for (int i = 0; i < D; ++i) {
      alignas(64) double lanes[W];
      store(lanes, x[i]);
      for (int l = 0; l < W; ++l) at[l][i] = lanes[l];
    }
    for (int k = 0; k < n; ++k)  // the points, then forward and backward steps along each axis
      for (int i = 0; i < D; ++i) {
        const int moved = k / W - 1;
        const double step = moved >= 0 && moved / 2 == i ? (moved % 2 ? -kStep : kStep) : 0;
        points[k][i] = centre[i] + extent * (grid_.clamped(i, at[k % W][i]) + step);
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
  GridDistances<D> grid_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::solid
