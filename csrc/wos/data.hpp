// Boundary values and sources at many points at once.
#pragma once
#include "wos/args.hpp"
#include "wos/formula.hpp"

namespace quatrefoil::wos {
inline namespace QF_ISA {

// a0 apart: it is added in float64, so that a constant comes out exact. Angle 0 at the centre itself, as atan2 has it.
template <class V>
QF_HD V fourier_modes(const double* numbers, int64_t width, V x, V y) {
  using T = Element<V>;
  const V dx = x - T(numbers[0]), dy = y - T(numbers[1]);
  const V r2 = dx * dx + dy * dy;
  const V inverse = broadcast<V>(T(1)) / square_root(r2);
  const V c1 = r2 > 0 ? dx * inverse : broadcast<V>(T(1)), s1 = r2 > 0 ? dy * inverse : V{};
  V c = c1, s = s1, sum{};
  for (int64_t k = 3; k + 1 < width; k += 2) {
    sum += c * T(numbers[k]) + s * T(numbers[k + 1]);
    const V next = c * c1 - s * s1;
    s = s * c1 + c * s1;
    c = next;
  }
  return sum;
}

template <class V, int D>
QF_HD V gaussians(const double* numbers, int64_t width, const V (&x)[D]) {
  using T = Element<V>;
  V sum{};
  for (int64_t k = 0; k + D + 2 <= width; k += D + 2) {
    V r2{};
    for (int i = 0; i < D; ++i) r2 += (x[i] - T(numbers[k + 1 + i])) * (x[i] - T(numbers[k + 1 + i]));
    sum += exp_negative(-(r2 * T(numbers[k + D + 1]))) * T(numbers[k]);
  }
  return sum;
}

// One instance's data in scaled coordinates.
template <class V, int D>
struct Field {
  using T = Element<V>;
  Data data;
  int64_t instance;
  const double* centre;
  double extent;

  const double* numbers() const { return data.numbers + instance * data.stride; }

  // x[i][k]: coordinate i of point k. n is a multiple of the lanes; `absolute` has room for n D doubles, `values` for n.
  template <class Out>
  void evaluate(const T* const (&x)[D], int64_t n, Out* out, double* absolute, double* values) const {
    constexpr int W = kWidth<V>;
    const double* const p = data.numbers ? numbers() : nullptr;
    if (data.kind == DataKind::callback) {
      for (int64_t k = 0; k < n; ++k)
        for (int i = 0; i < D; ++i) absolute[k * D + i] = centre[i] + extent * double(x[i][k]);
      data.callback(data.context, instance, n, absolute, values);
      for (int64_t k = 0; k < n; ++k) out[k] = Out(values[k]);
      return;
    }
    const bool fourier = data.kind == DataKind::fourier, bells = data.kind == DataKind::gaussians;
    const double base = data.kind == DataKind::number ? p[0] : fourier ? p[2] : 0;
    for (int64_t k = 0; k < n; k += W) {
      V at[D], v{};
      for (int i = 0; i < D; ++i) at[i] = load<V>(x[i] + k);
      if (fourier) v = fourier_modes(p, data.width, at[0], at[1]);
      if (bells) v = gaussians<V, D>(p, data.width, at);
      for (int i = 0; i < W; ++i) out[k + i] = Out(base + double(v[i]));
    }
  }
  // Linear on the segment between its two vertices.
  double on_segment(int64_t pair, double place) const {
    const double* p = data.numbers + 2 * pair;
    return p[0] + place * (p[1] - p[0]);
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos
