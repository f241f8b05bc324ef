// Boundary values and sources at many points at once, and the gradients of their sums.
#pragma once
#include "core/run/memory.hpp"
#include "wos/data/args.hpp"
#include "wos/data/formula.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// Vectors of points evaluated together, to hide the 4-cycle latency of a multiply-add. They share one read of the parameters.
constexpr int kTogether = 4;

// One instance's data in scaled coordinates.
template <class V, int D>
struct Field {
  using T = Element<V>;
  static constexpr int W = kWidth<V>;
  Data data;
  int64_t instance, first_instance;  // first_instance is the global index of instance 0
  const double* frame;               // centre (D), extent

  const double* numbers() const { return data.numbers + data.begin(instance); }
  // The coefficients of a polynomial or the values of a grid, and their number along each axis.
  const double* table() const { return numbers() + table_begin(data.kind, D); }
  void sizes(int64_t (&n)[D]) const {
    for (int i = 0; i < D; ++i) n[i] = int64_t(numbers()[i]);
  }

  // x[i][k]: coordinate i of point k. n is a multiple of the lane count. `absolute` has space for n D doubles, `values` for n. A function
  // is not called at points of weight 0, which belong to idle lanes and may be anywhere.
  template <class Out>
  void evaluate(const T* const (&x)[D], int64_t n, Out* out, double* absolute, double* values, const T* weight = nullptr) const {
    if (data.kind == Kind::function) {
      call(x, n, absolute, values, weight);
      for (int64_t k = 0; k < n; ++k) out[k] = Out(values[k]);
      return;
    }
    if (data.kind == Kind::grid) return evaluate_grid(x, n, out);
    for (int64_t k = 0; k < n; k += kTogether * W) evaluate_vectors(x, k, n, out);
  }
  // Interpolates linearly on a segment or triangle. corner_weights[i][k]: the weight of corner i + 1 for point k.
  double on_primitive(int64_t primitive, const T* const (&corner_weights)[D - 1], int64_t k) const {
    const double* const p = numbers() + D * primitive;
    double value = p[0];
    for (int i = 0; i < D - 1; ++i) value += double(corner_weights[i][k]) * (p[i + 1] - p[0]);
    return value;
  }

 private:
  void call(const T* const (&x)[D], int64_t n, double* absolute, double* values, const T* weight) const {
    const auto counts = [&](int64_t k) { return !weight || weight[k] != 0; };
    int64_t called = 0;
    for (int64_t k = 0; k < n; ++k) {
      if (!counts(k)) continue;
      for (int i = 0; i < D; ++i) absolute[called * D + i] = frame[i] + frame[D] * double(x[i][k]);
      ++called;
    }
    if (called) data.callback(data.context, first_instance + instance, called, absolute, values);
    for (int64_t k = n - 1; k >= 0; --k) values[k] = counts(k) ? values[--called] : 0;
  }
  // Evaluates kTogether vectors from k on. If fewer are left, repeats the last one, so that the same instructions compute every point.
  template <class Out>
  void evaluate_vectors(const T* const (&x)[D], int64_t k, int64_t n, Out* out) const {
    constexpr int U = kTogether;
    const double* const p = numbers();
    const auto number = [p](int64_t j) { return broadcast<V>(T(p[j])); };
    double base = 0;
    V at[D][U], v[U] = {};
    const auto start = [&](int u) { return min(k + u * W, n - W); };
    for (int i = 0; i < D; ++i)
      for (int u = 0; u < U; ++u) at[i][u] = load<V>(x[i] + start(u));
    if (data.kind == Kind::number) {
      base = p[0];
    } else if (data.kind == Kind::fourier) {
      base = p[2];
      for (int u = 0; u < U; ++u) v[u] = fourier_modes(number, data.width, at[0][u], at[1][u]);
    } else if (data.kind == Kind::polynomial) {
      int64_t powers[D];
      sizes(powers);
      base = table()[0];
      polynomial<D, U, V>(table(), powers, at, false, v);
    } else {
      gaussians<D, U, V>(number, data.width, at, v);
    }
    for (int u = 0; u < U; ++u)
      for (int l = 0; l < W; ++l) out[start(u) + l] = Out(base + double(v[u][l]));
  }
  // In double precision, because the values are.
  template <class Out>
  void evaluate_grid(const T* const (&x)[D], int64_t n, Out* out) const {
    using E = Lanes<double>;
    const double *const box = numbers() + D, *const values = table();
    int64_t nodes[D];
    sizes(nodes);
    for (int64_t k = 0; k < n; k += kWidth<E>) {
      E at[D];
      for (int i = 0; i < D; ++i) at[i] = load_as<E>(x[i] + k);
      const auto cell = cells<E, D>(box, nodes, frame, at);
      E v[1 << D];
      corners(values, nodes, cell.node, v);
      store_as<Out>(out + k, interpolated<D>(v, cell.fraction));
    }
  }
};

// The gradient of sum_k share_k value(x_k) with respect to the parameters. Sums are in T within a call to `add`, and in double over calls.
template <class V, int D>
class FieldAdjoint {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;

  // Adds to `to`, which has one element per parameter of the instance.
  FieldAdjoint(const Field<V, D>& field, double* to) : field_(field), to_(to), sums_(in_vectors() ? field.data.width * W : 0) {}
  bool wanted() const { return to_ != nullptr; }

  // x[i][k]: coordinate i of point k; n is a multiple of the lane count.
  void add(const T* const (&x)[D], const T* share, int64_t n) {
    const Data& data = field_.data;
    if (data.kind == Kind::number)
      for (int64_t k = 0; k < n; ++k) to_[0] += double(share[k]);
    if (data.kind == Kind::grid) add_to_grid(x, share, n);
    if (!in_vectors()) return;
    for (int64_t j = 0; j < data.width * W; ++j) sums_[j] = 0;
    const auto to_vectors = [&](int64_t j, V v) { store(sums_ + j * W, load<V>(sums_ + j * W) + v); };
    int64_t powers[D];
    if (data.kind == Kind::polynomial) field_.sizes(powers);
    for (int64_t k = 0; k < n; k += W) {
      V at[D];
      for (int i = 0; i < D; ++i) at[i] = load<V>(x[i] + k);
      const V s = load<V>(share + k);
      if (data.kind == Kind::fourier)
        fourier_adjoint<V>(field_.numbers(), data.width, at[0], at[1], s, to_vectors);
      else if (data.kind == Kind::polynomial)
        polynomial_adjoint<D, V>(powers, at, s, D, to_vectors);
      else
        gaussians_adjoint<V, D>(field_.numbers(), data.width, at, s, to_vectors);
    }
    for (int64_t j = 0; j < data.width; ++j) to_[j] += double(sum(load<V>(sums_ + j * W)));
  }
  void add_on_primitive(int64_t primitive, const T* const (&corner_weights)[D - 1], int64_t k, double share) {
    double* const to = to_ + D * primitive;
    double first = 1;
    for (int i = 0; i < D - 1; ++i) first -= double(corner_weights[i][k]), to[i + 1] += share * double(corner_weights[i][k]);
    to[0] += share * first;
  }

 private:
  bool in_vectors() const {
    const Kind kind = field_.data.kind;
    return kind == Kind::fourier || kind == Kind::gaussians || kind == Kind::polynomial;
  }
  // (9) Adds point by point, because two points may be in the same cell.
  void add_to_grid(const T* const (&x)[D], const T* share, int64_t n) {
    using E = Lanes<double>;
    constexpr int L = kWidth<E>;
    const double *const box = field_.numbers() + D, *const values = field_.table();
    int64_t nodes[D];
    field_.sizes(nodes);
    E of_box[2 * D] = {};
    for (int64_t k = 0; k < n; k += L) {
      E at[D];
      for (int i = 0; i < D; ++i) at[i] = load_as<E>(x[i] + k);
      const auto cell = cells<E, D>(box, nodes, field_.frame, at);
      const E s = load_as<E>(share + k);
      E v[1 << D];
      corners(values, nodes, cell.node, v);
      for (int l = 0; l < L; ++l) {
        double fraction[D];
        for (int i = 0; i < D; ++i) fraction[i] = cell.fraction[i][l];
        if (s[l] != 0) add_to_corners<D>(to_ + 3 * D + cell.node[l], nodes, fraction, s[l]);
      }
      for (int i = 0; i < D; ++i) {
        const E slopes = slope<D>(v, cell.fraction, i) * s;
        const E moved = cell.inside[i] != 0 ? slopes / (box[D + i] - box[i]) : E{};
        of_box[i] += moved * (cell.t[i] - double(nodes[i] - 1));
        of_box[D + i] -= moved * cell.t[i];
      }
    }
    for (int i = 0; i < 2 * D; ++i) to_[D + i] += sum(of_box[i]);
  }
  const Field<V, D>& field_;
  double* const to_;
  Scratch<T> sums_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
