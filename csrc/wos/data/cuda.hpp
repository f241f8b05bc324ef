// Boundary values and sources at one point on a GPU, and their gradients with respect to their parameters.
#pragma once
#include "core/lanes/hd.hpp"
#include "wos/data/args.hpp"
#include "wos/data/formula_wide.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// One instance's data in scaled coordinates. The host does not check parameters: wrong sizes give NaN.
template <class T, int D>
struct Field {
  Kind kind = Kind::none;
  const double* numbers = nullptr;
  int64_t width = 0;
  const double* frame = nullptr;  // centre (D), extent

  Field() = default;
  // `begin`: the index of the instance's first parameter.
  __device__ Field(const Data& data, int64_t begin, const double* frame)
      : kind(data.kind), numbers(data.numbers + begin), width(data.width), frame(frame) {}

  __device__ const double* table() const { return numbers + table_begin(kind, D); }
  // Reads the sizes of a polynomial's or grid's axes; false if they do not match the row.
  __device__ bool sizes(int64_t (&n)[D]) const {
    const double minimum = kind == Kind::grid ? 2 : 1;
    const int64_t available = width - table_begin(kind, D);
    if (available < 1) return false;
    int64_t count = 1;
    bool fit = true;
    for (int i = 0; i < D; ++i) {
      const double size = numbers[i];
      fit = fit && size >= minimum && size <= double(available / count);
      n[i] = fit ? int64_t(size) : 1;
      count *= n[i];
    }
    return fit;
  }
  __device__ double value(const T (&x)[D]) const {
    const auto number = [this](int64_t k) { return T(numbers[k]); };
    if (kind == Kind::number) return numbers[0];
    if constexpr (D == 2)
      if (kind == Kind::fourier) return numbers[2] + double(fourier_modes<T>(number, width, x[0], x[1]));
    if (kind == Kind::gaussians) {
      T at[D][1], sum[1];
      for (int i = 0; i < D; ++i) at[i][0] = x[i];
      gaussians<D, 1, T>(number, width, at, sum);
      return double(sum[0]);
    }
    int64_t n[D];
    if (!sizes(n)) return __builtin_nan("");
    return kind == Kind::grid ? on_grid(n, x) : polynomial_at(n, x);
  }
  // Interpolates linearly on a segment or triangle, with the weights of its corners after the first.
  __device__ double on_primitive(int64_t primitive, const T (&corner_weights)[D - 1]) const {
    const double* const p = numbers + D * primitive;
    double value = p[0];
    for (int i = 0; i < D - 1; ++i) value += double(corner_weights[i]) * (p[i + 1] - p[0]);
    return value;
  }

 private:
  __device__ double polynomial_at(const int64_t (&n)[D], const T (&x)[D]) const {
    T at[D][1], sum[1];
    for (int i = 0; i < D; ++i) at[i][0] = x[i];
    polynomial<D, 1, T>(table(), n, at, false, sum);
    return table()[0] + double(sum[0]);
  }
  __device__ double on_grid(const int64_t (&n)[D], const T (&x)[D]) const {
    double at[D], v[1 << D];
    for (int i = 0; i < D; ++i) at[i] = double(x[i]);
    const auto cell = cells<double, D>(numbers + D, n, frame, at);
    corners<D, double>(table(), n, cell.node, v);
    return interpolated<D>(v, cell.fraction);
  }
};

// A column of a table of partial sums, used like an array.
struct Column {
  double* at;
  int64_t stride;
  QF_HD double& operator*() const { return *at; }
  QF_HD double& operator[](int64_t j) const { return at[j * stride]; }
  QF_HD Column operator+(int64_t n) const { return {at + n * stride, stride}; }
};

// Adds share d value(x) / d parameters to a thread's own column.
template <class T, int D>
__device__ __forceinline__ void add_share(const Field<T, D>& field, const T (&x)[D], double share, const Column& to) {
  const auto add = [&](int64_t j, T v) { to[j] += double(v); };
  if (field.kind == Kind::number) to[0] += share;
  if constexpr (D == 2)
    if (field.kind == Kind::fourier) fourier_adjoint<T>(field.numbers, field.width, x[0], x[1], T(share), add);
  if (field.kind == Kind::gaussians) gaussians_adjoint<T, D>(field.numbers, field.width, x, T(share), add);
  if (field.kind != Kind::polynomial && field.kind != Kind::grid) return;
  int64_t n[D];
  if (!field.sizes(n)) return;
  if (field.kind == Kind::polynomial) {
    polynomial_adjoint<D, T>(n, x, T(share), D, add);
    return;
  }
  if (share == 0) return;
  const double* const box = field.numbers + D;
  double at[D], v[1 << D];
  for (int i = 0; i < D; ++i) at[i] = double(x[i]);
  const auto cell = cells<double, D>(box, n, field.frame, at);
  corners<D, double>(field.table(), n, cell.node, v);
  add_to_corners<D>(to + 3 * D + cell.node, n, cell.fraction, share);
  for (int i = 0; i < D; ++i) {
    if (!cell.inside[i]) continue;
    const double moved = slope<D>(v, cell.fraction, i) * share / (box[D + i] - box[i]);
    to[D + i] += moved * (cell.t[i] - double(n[i] - 1));
    to[2 * D + i] -= moved * cell.t[i];
  }
}
template <class T, int D>
__device__ __forceinline__ void add_share_on_primitive(int64_t primitive, const T (&corner_weights)[D - 1], double share,
                                                       const Column& to) {
  double first = 1;
  for (int i = 0; i < D - 1; ++i) first -= double(corner_weights[i]), to[D * primitive + i + 1] += share * double(corner_weights[i]);
  to[D * primitive] += share * first;
}

// ------------------------------------------------------------ more than three dimensions

// One instance's constant, Gaussians or polynomial. Points are columns of D coordinates.
struct WideField {
  Kind kind = Kind::none;
  const double* numbers = nullptr;
  int64_t width = 0, D = 0;

  WideField() = default;
  __device__ WideField(const Data& data, int64_t instance, int64_t D)
      : kind(data.kind), numbers(data.numbers + instance * data.stride), width(data.width), D(D) {}

  __device__ double value(const Column& x) const {
    if (kind == Kind::number) return numbers[0];
    double sum = 0;
    if (kind == Kind::gaussians) {
      for (int64_t j = 0; j + D + 2 <= width; j += D + 2) sum += bell_at(numbers + j, x, D);
      return sum;
    }
    const int64_t count = coefficients();
    if (!count) return __builtin_nan("");
    for (int64_t k = 0; k < count; ++k) sum += numbers[D + k] * monomial(k, x);
    return sum;
  }
  // Adds share d value(x) / d parameters to a thread's own column.
  __device__ void add_share(const Column& x, double share, const Column& to) const {
    if (share == 0) return;
    if (kind == Kind::number) to[0] += share;
    for (int64_t j = 0; kind == Kind::gaussians && j + D + 2 <= width; j += D + 2) bell_adjoint(numbers + j, x, D, share, to + j);
    const int64_t count = kind == Kind::polynomial ? coefficients() : 0;
    for (int64_t k = 0; k < count; ++k) to[D + k] += share * monomial(k, x);  // (7)
  }

 private:
  // The number of coefficients; 0 if the sizes do not match the row.
  __device__ int64_t coefficients() const {
    int64_t count = 1;
    for (int64_t i = 0; i < D; ++i) {
      if (!(numbers[i] >= 1 && numbers[i] <= double((width - D) / count))) return 0;
      count *= int64_t(numbers[i]);
    }
    return count;
  }
  // The monomial of coefficient k; the last axis varies fastest.
  __device__ double monomial(int64_t k, const Column& x) const {
    double product = 1;
    for (int64_t i = D - 1; i >= 0; --i) {
      const int64_t n = int64_t(numbers[i]);
      for (int64_t power = k % n; power > 0; --power) product *= x[i];
      k /= n;
    }
    return product;
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
