// Boundary values and sources at many points at once, and the gradients of their sums in the numbers that describe them.
#pragma once
#include "core/run/memory.hpp"
#include "wos/data/args.hpp"
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// One instance's data in scaled coordinates.
template <class V, int D>
struct Field {
  using T = Element<V>;
  static constexpr int W = kWidth<V>;
  Data data;
  int64_t instance, first_instance;  // the latter is the global index of instance 0
  const double* frame;               // centre (D), extent

  const double* numbers() const { return data.numbers + data.begin(instance); }

  // x[i][k]: coordinate i of point k. n is a multiple of the lanes; `absolute` has room for n D doubles, `values` for n.
  template <class Out>
  void evaluate(const T* const (&x)[D], int64_t n, Out* out, double* absolute, double* values) const {
    if (data.kind == Kind::function) {
      for (int64_t k = 0; k < n; ++k)
        for (int i = 0; i < D; ++i) absolute[k * D + i] = frame[i] + frame[D] * double(x[i][k]);
      data.callback(data.context, first_instance + instance, n, absolute, values);
      for (int64_t k = 0; k < n; ++k) out[k] = Out(values[k]);
      return;
    }
    const double* const p = numbers();
    const bool fourier = data.kind == Kind::fourier, bells = data.kind == Kind::gaussians;
    const double base = data.kind == Kind::number ? p[0] : fourier ? p[2] : 0;
    for (int64_t k = 0; k < n; k += W) {
      V at[D], v{};
      for (int i = 0; i < D; ++i) at[i] = load<V>(x[i] + k);
      if (fourier) v = fourier_modes(p, data.width, at[0], at[1]);
      if (bells) v = sum_of_bells(p, data.width, at);
      for (int i = 0; i < W; ++i) out[k + i] = Out(base + double(v[i]));
    }
  }
  // Not inlined: GCC then makes copies of the loop that differ in what they fuse, and a point's bits depend on its place among others.
  [[gnu::noinline]] static V sum_of_bells(const double* numbers, int64_t width, const V (&x)[D]) {
    return gaussians<V, D>(numbers, width, x);
  }
  // Linear on the segment between its two vertices.
  double on_segment(int64_t segment, double place) const {
    const double* const p = numbers() + 2 * segment;
    return p[0] + place * (p[1] - p[0]);
  }
};

// d sum_k share_k value(x_k) / d numbers, added up: a block at a time in T, blocks in double precision.
template <class V, int D>
class FieldAdjoint {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;

  // `to`: as many numbers as the instance has, added to.
  FieldAdjoint(const Field<V, D>& field, double* to)
      : field_(field), to_(to), sums_(field.data.kind == Kind::fourier || field.data.kind == Kind::gaussians ? field.data.width * W : 0) {}
  bool wanted() const { return to_ != nullptr; }

  // x[i][k]: coordinate i of point k; n is a multiple of the lanes.
  void add(const T* const (&x)[D], const T* share, int64_t n) {
    const Data& data = field_.data;
    if (data.kind == Kind::number)
      for (int64_t k = 0; k < n; ++k) to_[0] += double(share[k]);
    if (data.kind != Kind::fourier && data.kind != Kind::gaussians) return;
    for (int64_t j = 0; j < data.width * W; ++j) sums_[j] = 0;
    for (int64_t k = 0; k < n; k += W) {
      V at[D];
      for (int i = 0; i < D; ++i) at[i] = load<V>(x[i] + k);
      const V s = load<V>(share + k);
      if (data.kind == Kind::fourier)
        fourier_adjoint<V>(field_.numbers(), data.width, at[0], at[1], s, sums_);
      else
        gaussians_adjoint<V, D>(field_.numbers(), data.width, at, s, sums_);
    }
    for (int64_t j = 0; j < data.width; ++j) to_[j] += double(sum(load<V>(sums_ + j * W)));
  }
  void add_on_segment(int64_t segment, double place, double share) {
    to_[2 * segment] += share * (1 - place);
    to_[2 * segment + 1] += share * place;
  }

 private:
  const Field<V, D>& field_;
  double* const to_;
  Scratch<T> sums_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
