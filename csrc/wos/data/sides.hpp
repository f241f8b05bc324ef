// Evaluates constants, Fourier series and Gaussians of several right-hand sides at the same points, with one right-hand side per lane.
#pragma once
#include "wos/data/field.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

template <class V, int D>
class Sides {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;

  // Uses as many of the rows [first, first + nrhs) as fill whole vectors, or none for other kinds of data.
  Sides(const Data& data, int64_t first, int64_t nrhs)
      : kind_(data.kind),
        width_(data.width),
        count_((kind_ == Kind::number || kind_ == Kind::fourier || kind_ == Kind::gaussians) && nrhs > 1 ? nrhs / W * W : 0),
        numbers_(count_ * width_),
        base_(count_) {
    for (int64_t side = 0; side < count_; ++side) {
      const double* const row = data.numbers + data.begin(first + side);
      for (int64_t k = 0; k < width_; ++k) numbers_[k * count_ + side] = T(row[k]);
      base_[side] = kind_ == Kind::number ? row[0] : kind_ == Kind::fourier ? row[2] : 0;
    }
  }
  int64_t count() const { return count_; }

  // Writes out (n, W) for right-hand sides [side, side + W), bitwise equal to Field's values. Arrays need space for kTogether more points.
  template <class Out>
  void evaluate(const T* const (&x)[D], int64_t n, int64_t side, Out* out) const {
    const auto number = [&](int64_t j) { return load<V>(numbers_ + j * count_ + side); };
    const auto base = load<Lanes<double, W>>(base_ + side);
    for (int64_t k = 0; k < n; k += kTogether) {
      V at[D][kTogether], v[kTogether] = {};
      for (int i = 0; i < D; ++i)
        for (int u = 0; u < kTogether; ++u) at[i][u] = broadcast<V>(x[i][k + u]);
      if constexpr (D == 2)
        for (int u = 0; kind_ == Kind::fourier && u < kTogether; ++u) v[u] = fourier_modes(number, width_, at[0][u], at[1][u]);
      if (kind_ == Kind::gaussians) gaussians<D, kTogether, V>(number, width_, at, v);
      for (int u = 0; u < kTogether; ++u) {
        if (kind_ == Kind::gaussians)
          store_as<Out>(out + (k + u) * W, v[u]);
        else
          store_as<Out>(out + (k + u) * W, base + converted<double>(v[u]));
      }
    }
  }

 private:
  const Kind kind_;
  const int64_t width_, count_;
  const Scratch<T> numbers_;  // (width, count)
  const Scratch<double> base_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
