// The diffusion and the screening of one instance, evaluated at many points at a time.
#pragma once
#include "core/run/memory.hpp"
#include "wos/data/field.hpp"
#include "wos/media/args.hpp"
#include "wos/media/formula.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

using data::Kind;

// The number of walks that make their steps together, so that the medium is evaluated for all of them at once.
constexpr int64_t kSideBySide = 256;  // their state fits in the L1 cache
constexpr int64_t kForCalls = 4096;   // if a user's function is called in every step
template <class T>
int64_t walks_together(const Media<T>& p) {
  return p.diffusion.kind == Kind::function || p.screening.kind == Kind::function ? kForCalls : kSideBySide;
}
constexpr double kBoundRounding = 1e-5;  // relative excess over a bound that float32 rounding may cause

// Not shared between threads, because it has scratch memory.
template <class V, int D>
class Medium {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;

  // capacity: the largest number of points per call, a multiple of the lane count. with_slopes: `rates` also computes slopes.
  Medium(const Media<T>& p, int64_t instance, int64_t capacity, bool with_slopes = false)
      : diffusion_{p.diffusion, instance, p.walk.first_instance, p.walk.frame + instance * (D + 2)},
        screening_{p.screening, instance, p.walk.first_instance, p.walk.frame + instance * (D + 2)},
        area_(diffusion_.frame[D] * diffusion_.frame[D]),
        step_(p.bounds[kBounds * instance + 1]),
        shifted_(diffusion_.data.kind == Kind::function ? kShifted * capacity : 0),
        absolute_((shifted_ ? shifted_ : capacity) * D),
        shifted_values_(shifted_ ? shifted_ : capacity),
        slope_stride_(with_slopes ? capacity : 0),
        slopes_(D * slope_stride_),
        alpha_(capacity),
        rate_(capacity),
        derived_(diffusion_.data.kind == Kind::polynomial ? (D + 1) * table_size() : 0) {
    for (int64_t k = 0; k < D * slope_stride_; ++k) slopes_[k] = 0;
    if (diffusion_.data.kind != Kind::polynomial) return;
    int64_t n[D];
    diffusion_.sizes(n);
    derive<D>(diffusion_.table(), n, derived_, derived_ + D * table_size());
  }

  bool varies() const { return diffusion_.data.kind != Kind::none; }

  // sqrt(alpha). x[i][k]: coordinate i of point k; n is a multiple of the lane count.
  void roots(const T* const (&x)[D], int64_t n, double* out) {
    if (varies())
      diffusion_.evaluate(x, n, out, absolute_, static_cast<double*>(shifted_values_));
    else
      for (int64_t k = 0; k < n; ++k) out[k] = 1;
    for (int64_t k = 0; k < n; ++k) out[k] = square_root(out[k]);
  }

  // (2) sigma' times the squared extent.
  void rates(const T* const (&x)[D], int64_t n, double* out) {
    derivatives(x, n, out);
    if (screening_.data.kind == Kind::none) return;
    screening_.evaluate(x, n, static_cast<double*>(rate_), absolute_, static_cast<double*>(shifted_values_));
    for (int64_t k = 0; k < n; ++k) out[k] += rate_[k] * area_ / alpha_[k];
  }
  // Component i of grad alpha / (2 alpha) at point k of the last call to `rates`, in scaled coordinates.
  double slope(int i, int64_t k) const { return slopes_[i * slope_stride_ + k]; }

 private:
  static constexpr int kShifted = 2 * D + 1;  // values per finite difference

  // The number of coefficients of a polynomial, or of nodes of a grid.
  int64_t table_size() const {
    int64_t n[D], count = 1;
    diffusion_.sizes(n);
    for (int i = 0; i < D; ++i) count *= n[i];
    return count;
  }

  // Stores alpha in alpha_, and (3) in scaled coordinates in `out`.
  void derivatives(const T* const (&x)[D], int64_t n, double* out) {
    switch (diffusion_.data.kind) {
      case Kind::polynomial:
      case Kind::gaussians: return of_vectors(x, n, out);
      case Kind::grid: return of_grid(x, n, out);
      case Kind::function: return of_function(x, n, out);
      default:
        for (int64_t k = 0; k < n; ++k) alpha_[k] = varies() ? diffusion_.numbers()[0] : 1, out[k] = 0;
    }
  }
  // Stores component i of grad alpha / (2 alpha) at point k, if slopes are requested. `slope`: component i of grad alpha.
  void keep_slope(int i, int64_t k, double slope) {
    if (slope_stride_) slopes_[i * slope_stride_ + k] = slope / (2 * alpha_[k]);
  }
  void of_vectors(const T* const (&x)[D], int64_t n, double* out) {
    int64_t sizes[D];
    const bool powers = diffusion_.data.kind == Kind::polynomial;
    if (powers) diffusion_.sizes(sizes);
    const int64_t count = powers ? table_size() : 0;
    for (int64_t k = 0; k < n; k += W) {
      V at[D][1], one[D], value[1], laplace[1], slopes[D], slope2{};
      for (int i = 0; i < D; ++i) at[i][0] = one[i] = load<V>(x[i] + k);
      if (powers) {
        data::polynomial<D, 1, V>(diffusion_.table(), sizes, at, true, value);
        data::polynomial<D, 1, V>(derived_ + D * count, sizes, at, true, laplace);
        for (int i = 0; i < D; ++i) {
          V slope[1];
          data::polynomial<D, 1, V>(derived_ + i * count, sizes, at, true, slope);
          slopes[i] = slope[0];
        }
      } else {
        derived_gaussians<D, V>(diffusion_.numbers(), diffusion_.data.width, one, value[0], slopes, laplace[0]);
      }
      for (int i = 0; i < D; ++i) slope2 += slopes[i] * slopes[i];
      const V bent = curvature(value[0], slope2, laplace[0]);
      for (int l = 0; l < W; ++l) {
        alpha_[k + l] = double(value[0][l]), out[k + l] = double(bent[l]);
        for (int i = 0; i < D; ++i) keep_slope(i, k + l, double(slopes[i][l]));
      }
    }
  }
  // Interpolates the tables of the row: alpha, (3), and grad alpha / (2 alpha) if slopes are requested.
  void of_grid(const T* const (&x)[D], int64_t n, double* out) {
    using E = Lanes<double>;
    int64_t nodes[D];
    diffusion_.sizes(nodes);
    const double *const box = diffusion_.numbers() + D, *const values = diffusion_.table();
    for (int64_t k = 0; k < n; k += kWidth<E>) {
      E at[D], v[1 << D];
      for (int i = 0; i < D; ++i) at[i] = load_as<E>(x[i] + k);
      const auto cell = data::cells<E, D>(box, nodes, diffusion_.frame, at);
      data::corners<D>(values, nodes, cell.node, v);
      store_as<double>(alpha_ + k, data::interpolated<D>(v, cell.fraction));
      data::corners<D>(values + table_size(), nodes, cell.node, v);
      store_as<double>(out + k, data::interpolated<D>(v, cell.fraction) * area_);
      for (int i = 0; slope_stride_ && i < D; ++i) {
        data::corners<D>(values + (2 + i) * table_size(), nodes, cell.node, v);
        const E slope = data::interpolated<D>(v, cell.fraction) * diffusion_.frame[D];
        store_as<double>(slopes_ + i * slope_stride_ + k, slope);
      }
    }
  }
  // Calls the function at every point and at its neighbours on each axis, in absolute coordinates.
  void of_function(const T* const (&x)[D], int64_t n, double* out) {
    const double* const frame = diffusion_.frame;
    for (int64_t k = 0; k < n; ++k)
      for (int j = 0; j < kShifted; ++j)
        for (int i = 0; i < D; ++i) {
          const double moved = j > 0 && (j - 1) / 2 == i ? (j % 2 ? -step_ : step_) : 0;
          absolute_[(k * kShifted + j) * D + i] = frame[i] + frame[D] * double(x[i][k]) + moved;
        }
    const data::Data& d = diffusion_.data;
    d.callback(d.context, diffusion_.first_instance + diffusion_.instance, n * kShifted, absolute_, shifted_values_);
    for (int64_t k = 0; k < n; ++k) {
      alpha_[k] = shifted_values_[k * kShifted];
      const double* const values = shifted_values_ + k * kShifted;
      out[k] = curvature_of_differences<D>(values, area_ / (step_ * step_));
      for (int i = 0; i < D; ++i) keep_slope(i, k, (values[2 + 2 * i] - values[1 + 2 * i]) * diffusion_.frame[D] / (2 * step_));
    }
  }

  const data::Field<V, D> diffusion_, screening_;
  const double area_, step_;  // squared extent; finite difference step of a function
  const int64_t shifted_;
  const Scratch<double> absolute_, shifted_values_;
  const int64_t slope_stride_;  // 0 without slopes
  const Scratch<double> slopes_, alpha_, rate_, derived_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
