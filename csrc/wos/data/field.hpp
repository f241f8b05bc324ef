// Boundary values and sources at many points at once.
#pragma once
#include "wos/data/args.hpp"
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

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
    if (data.kind == Kind::callback) {
      for (int64_t k = 0; k < n; ++k)
        for (int i = 0; i < D; ++i) absolute[k * D + i] = centre[i] + extent * double(x[i][k]);
      data.callback(data.context, instance, n, absolute, values);
      for (int64_t k = 0; k < n; ++k) out[k] = Out(values[k]);
      return;
    }
    const bool fourier = data.kind == Kind::fourier, bells = data.kind == Kind::gaussians;
    const double base = data.kind == Kind::number ? p[0] : fourier ? p[2] : 0;
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
}  // namespace quatrefoil::wos::data
