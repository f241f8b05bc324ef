// The gradients of rational filters, README (4)-(7). The states before each tile are stored; the backward pass recomputes y.
#pragma once
#include "ssm/arma/recurrence.hpp"

namespace quatrefoil::ssm::arma {
inline namespace QF_ISA {

// Processes W rows. `sums` receives the gradients of b, then of a, for each row. Reads x twice and the gradient once; writes dx once.
template <class V, class T>
void filter_rows_back(const FilterAdjoint<T>& p, int64_t row, double* sums) {
  const int64_t Z = p.order, rows = min<int64_t>(kWidth<V>, p.rows - row), tiles = max<int64_t>((p.length + kSteps - 1) / kSteps, 1);
  const Scratch<V> memory(3 * kSteps + 4 * Z + 2 + Coefficients<V>::size(Z) + (tiles + 1) * Z);
  V *const x = memory, *const y = x + kSteps, *const mu = y + kSteps, *const later = mu + kSteps + Z, *const db = later + Z,
           *const da = db + Z + 1, *const states = da + Z + 1 + Coefficients<V>::size(Z);
  const Coefficients<V> coefficients(p, row, rows, da + Z + 1);
  for (int64_t i = 0; i <= Z; ++i) db[i] = da[i] = V{};
  for (int64_t i = 0; i < Z; ++i) {
    states[i] = p.start ? load_rows<V>(p.start + row * Z + i, Z, rows) : V{};
    later[i] = p.grad_final ? load_rows<V>(p.grad_final + row * Z + i, Z, rows) : V{};
  }
  const T* const from = p.x + row * p.length;
  for (int64_t k = 0; k + 1 < tiles; ++k) {
    check_interrupt(steps_ns(Z, kSteps));
    load_tile(from + k * kSteps, p.length, rows, kSteps, y);
    for (int64_t i = 0; i < Z; ++i) states[(k + 1) * Z + i] = states[k * Z + i];
    run_steps(coefficients, Z, kSteps, states + (k + 1) * Z, y);
  }
  for (int64_t k = tiles - 1; k >= 0; --k) {
    const int64_t t = k * kSteps, steps = min(kSteps, p.length - t);
    check_interrupt(4 * steps_ns(Z, steps));
    load_tile(from + t, p.length, rows, steps, x);
    load_tile(from + t, p.length, rows, steps, y);
    run_steps(coefficients, Z, steps, states + k * Z, y);
    load_tile(p.grad + row * p.length + t, p.length, rows, steps, mu);
    for (int64_t i = 0; i < Z; ++i) mu[steps + i] = later[i];
    for (int64_t s = steps - 1; s >= 0; --s) {  // (4); adds the most recent mu last, because it is the last to be ready
      V sum = mu[s];
      for (int64_t i = Z; i > 0; --i) sum = multiply_add(V(-coefficients.a[i]), mu[s + i], sum);
      mu[s] = sum;
    }
    for (int64_t i = 0; i <= Z; ++i) {  // (6)
      V from_b{}, from_a{};
      for (int64_t s = 0; s < steps; ++s) from_b = multiply_add(x[s], mu[s + i], from_b), from_a = multiply_add(y[s], mu[s + i], from_a);
      db[i] = db[i] + from_b, da[i] = da[i] - from_a;
    }
    for (int64_t i = 0; i < Z; ++i) later[i] = mu[i];
    for (int64_t s = 0; s < steps; ++s) {  // (5)
      V sum{};
      for (int64_t i = 0; i <= Z; ++i) sum = multiply_add(coefficients.b[i], mu[s + i], sum);
      x[s] = sum;
    }
    store_tile(p.dx + row * p.length + t, p.length, rows, steps, x);
  }
  for (int64_t i = 0; p.dstart && i < Z; ++i) store_rows(p.dstart + row * Z + i, Z, rows, later[i]);
  da[0] = V{};  // (7)
  for (int64_t i = 0; i <= Z; ++i) da[0] = da[0] - coefficients.b[i] * db[i] - (i ? V(coefficients.a[i] * da[i]) : V{});
  const int64_t stride = p.b_taps + p.a_taps;
  double* const to = sums + row * stride;
  for (int64_t i = 0; i < p.b_taps; ++i) store_rows(to + i, stride, rows, V(db[i] / coefficients.first));
  for (int64_t i = 0; i < p.a_taps; ++i) store_rows(to + p.b_taps + i, stride, rows, V(da[i] / coefficients.first));
}

// If `each`, copies the gradients of each row to `to` (rows, taps); otherwise sums them over the rows in order.
template <class T>
void put_sums(int64_t rows, int64_t taps, bool each, const double* from, int64_t stride, T* to) {
  for (int64_t i = 0; i < taps; ++i) {
    double sum = 0;
    for (int64_t row = 0; row < rows; ++row)
      if (each)
        to[row * taps + i] = T(from[row * stride + i]);
      else
        sum += from[row * stride + i];
    if (!each) to[i] = T(sum);
  }
}

template <class T>
void filter_adjoint(const FilterAdjoint<T>& p) {
  constexpr int64_t W = kLanes<double>;
  const int64_t stride = p.a_taps + p.b_taps;
  const Scratch<double> sums(p.rows * stride);
  parallel_for((p.rows + W - 1) / W, p.threads, 4 * steps_ns(p.order, p.length), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) filter_rows_back<Lanes<double>>(p, W * i, sums);
  });
  put_sums(p.rows, p.b_taps, p.b_row != 0, static_cast<const double*>(sums), stride, p.db);
  put_sums(p.rows, p.a_taps, p.a_row != 0, static_cast<const double*>(sums) + p.b_taps, stride, p.da);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::arma
