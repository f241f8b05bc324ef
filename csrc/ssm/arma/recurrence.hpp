// y = (b / a) x along rows, README (2), (3): one row per lane, time in tiles, always in double precision.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/parallel.hpp"
#include "ssm/arma/args.hpp"

namespace quatrefoil::ssm::arma {
inline namespace QF_ISA {

constexpr int64_t kSteps = 256;        // per tile
constexpr int kMaxRegisterStates = 8;  // with more states, they are kept in memory
constexpr int64_t kAhead = 512;        // bytes prefetched ahead of a load
constexpr double kTermNs = 0.3;        // per multiply-add of a step (estimate)

// Loads W steps of W rows, one vector per step; unused lanes are 0.
template <class V, class T>
QF_HD void load_square(const T* x, int64_t stride, int64_t rows, int64_t steps, V* to) {
  constexpr int W = kWidth<V>;
  using F = Lanes<T, W>;
  F square[W];
  if (rows >= W && steps >= W) {
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) square[i] = load<F>(x + i * stride);
  } else {
    for (int i = 0; i < W; ++i) square[i] = i < rows ? load_first<F>(x + i * stride, steps) : F{};
  }
  transpose(square);
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) to[i] = converted<double>(square[i]);
}
template <class V, class T>
QF_HD void store_square(T* x, int64_t stride, int64_t rows, int64_t steps, const V* from) {
  constexpr int W = kWidth<V>;
  using F = Lanes<T, W>;
  F square[W];
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) square[i] = converted<T>(from[i]);
  transpose(square);
  if (rows >= W && steps >= W) {
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) store(x + i * stride, square[i]);
  } else {
    for (int i = 0; i < W && i < rows; ++i) store_first(x + i * stride, square[i], steps);
  }
}
// Loads a tile of W rows; `to` must have room for whole squares.
template <class V, class T>
void load_tile(const T* x, int64_t stride, int64_t rows, int64_t steps, V* to) {
  constexpr int W = kWidth<V>;
  if constexpr (W == 1)
    for (int64_t t = 0; t < steps; ++t) to[t] = double(x[t]);
  else
    for (int64_t t = 0; t < steps; t += W) load_square(x + t, stride, rows, steps - t, to + t);
}
template <class V, class T>
void store_tile(T* x, int64_t stride, int64_t rows, int64_t steps, const V* from) {
  constexpr int W = kWidth<V>;
  if constexpr (W == 1)
    for (int64_t t = 0; t < steps; ++t) x[t] = T(from[t]);
  else
    for (int64_t t = 0; t < steps; t += W) store_square(x + t, stride, rows, steps - t, from + t);
}

// Loads one number for each of W rows.
template <class V, class T>
V load_rows(const T* x, int64_t stride, int64_t rows) {
  double v[kWidth<V>] = {};
  for (int64_t i = 0; i < min<int64_t>(rows, kWidth<V>); ++i) v[i] = double(x[i * stride]);
  return load<V>(v);
}
template <class V, class T>
void store_rows(T* x, int64_t stride, int64_t rows, V from) {
  double v[kWidth<V>];
  store(v, from);
  for (int64_t i = 0; i < min<int64_t>(rows, kWidth<V>); ++i) x[i * stride] = T(v[i]);
}

// (1), (3): b / a_0, a / a_0 and c_i = b_i - a_i b_0 of W rows, order + 1 coefficients each; `first` is a_0.
template <class V>
struct Coefficients {
  V *b, *a, *c, first;
  static int64_t size(int64_t order) { return 3 * (order + 1); }
  template <class T>
  Coefficients(const Filter<T>& p, int64_t row, int64_t rows, V* memory) : b(memory), a(b + p.order + 1), c(a + p.order + 1) {
    const T *const from_b = p.b + row * (p.b_row ? p.b_taps : 0), *const from_a = p.a + row * (p.a_row ? p.a_taps : 0);
    first = load_rows<V>(from_a, p.a_row, rows);
    if (rows < kWidth<V>) {  // unused lanes divide by 1
      V padded = first;
      for (int i = int(rows); i < kWidth<V>; ++i) set_lane(padded, i, 1.0);
      first = padded;
    }
    for (int64_t i = 0; i <= p.order; ++i) {
      b[i] = i < p.b_taps ? V(load_rows<V>(from_b + i, p.b_row, rows) / first) : V{};
      a[i] = i < p.a_taps ? V(load_rows<V>(from_a + i, p.a_row, rows) / first) : V{};
      c[i] = multiply_add(V(-a[i]), b[0], b[i]);
    }
  }
};

// (2), (3): the states of W rows and their coefficients, in registers.
template <int kOrder, class V>
struct Recurrence {
  V b0, a[kOrder], c[kOrder], s[kOrder + 1];
  QF_HD Recurrence(const Coefficients<V>& coefficients, const V* z) : b0(coefficients.b[0]) {
    QF_UNROLL(8)
    for (int i = 0; i < kOrder; ++i) a[i] = coefficients.a[i + 1], c[i] = coefficients.c[i + 1], s[i] = z[i];
    s[kOrder] = V{};
  }
  QF_HD V step(V x) {
    const V z0 = s[0];
    QF_UNROLL(8)
    for (int i = 0; i < kOrder; ++i) s[i] = multiply_add(V(-a[i]), z0, multiply_add(c[i], x, s[i + 1]));
    return multiply_add(b0, x, z0);
  }
  QF_HD void put(V* z) const {
    QF_UNROLL(8)
    for (int i = 0; i < kOrder; ++i) z[i] = s[i];
  }
};

// Filters a tile in place.
template <int kOrder, class V>
void run_tile(const Coefficients<V>& coefficients, int64_t steps, V* z, V* x) {
  Recurrence<kOrder, V> rows(coefficients, z);
  for (int64_t t = 0; t < steps; ++t) x[t] = rows.step(x[t]);
  rows.put(z);
}
// Filters from x to y, square by square. A square stays in registers between its two transposes, and the latency of one square overlaps
// with the loads of the next.
template <int kOrder, class V, class T>
void run_squares(const Coefficients<V>& coefficients, const T* x, T* y, int64_t stride, int64_t rows, int64_t steps, V* z) {
  constexpr int W = kWidth<V>;
  Recurrence<kOrder, V> states(coefficients, z);
  V square[W];
  int64_t t = 0;
  for (; rows >= W && t + W <= steps; t += W) {
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) fetch(x + i * stride + t + kAhead / int64_t(sizeof(T)), 1);
    load_square(x + t, stride, W, W, square);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) square[i] = states.step(square[i]);
    store_square(y + t, stride, W, W, square);
  }
  for (; t < steps; t += W) {
    load_square(x + t, stride, rows, steps - t, square);
    for (int i = 0; i < W && t + i < steps; ++i) square[i] = states.step(square[i]);
    store_square(y + t, stride, rows, steps - t, square);
  }
  states.put(z);
}

// Filters with any number of states, which are in memory.
template <class V>
void run_any_order(const Coefficients<V>& coefficients, int64_t order, int64_t steps, V* s, V* x) {
  const V *const a = coefficients.a, *const c = coefficients.c;
  V next = order ? s[0] : V{};
  for (int64_t t = 0; t < steps; ++t) {
    const V u = x[t], z0 = next;
    x[t] = multiply_add(coefficients.b[0], u, z0);
    if (!order) continue;
    next = multiply_add(V(-a[1]), z0, multiply_add(c[1], u, order > 1 ? s[1] : V{}));
    for (int64_t i = 1; i < order; ++i) s[i] = multiply_add(V(-a[i + 1]), z0, multiply_add(c[i + 1], u, i + 1 < order ? s[i + 1] : V{}));
  }
  if (order) s[0] = next;
}

// Calls f(order as a constant) if that many states (at least one) fit in registers; returns whether they do.
template <int candidate = 1, class F>
bool in_registers(int64_t order, F&& f) {
  if constexpr (candidate > kMaxRegisterStates)
    return false;
  else if (order == candidate)
    return f(std::integral_constant<int, candidate>{}), true;
  else
    return in_registers<candidate + 1>(order, f);
}
template <class V>
void run_steps(const Coefficients<V>& coefficients, int64_t order, int64_t steps, V* z, V* x) {
  if (!in_registers(order, [&](auto states) { run_tile<states.value>(coefficients, steps, z, x); }))
    run_any_order(coefficients, order, steps, z, x);
}

inline double steps_ns(int64_t order, int64_t steps) { return double(steps * (2 * order + 4)) * kTermNs; }

// Filters W rows, starting with `row`. Reads x once, writes y once.
template <class V, class T>
void filter_rows(const Filter<T>& p, int64_t row) {
  constexpr int W = kWidth<V>;
  const int64_t Z = p.order, rows = min<int64_t>(W, p.rows - row);
  const Scratch<V> memory(kSteps + Coefficients<V>::size(Z) + Z);
  V *const tile = memory, *const z = tile + kSteps;
  const Coefficients<V> coefficients(p, row, rows, z + Z);
  for (int64_t i = 0; i < Z; ++i) z[i] = p.start ? load_rows<V>(p.start + row * Z + i, Z, rows) : V{};
  for (int64_t t = 0; t < p.length; t += kSteps) {
    const int64_t steps = min(kSteps, p.length - t);
    const T* const x = p.x + row * p.length + t;
    T* const y = p.y + row * p.length + t;
    check_interrupt(steps_ns(Z, steps));
    const auto squares = [&](auto states) { run_squares<states.value>(coefficients, x, y, p.length, rows, steps, z); };
    if (W > 1 && in_registers(Z, squares)) continue;
    load_tile(x, p.length, rows, steps, tile);
    run_steps(coefficients, Z, steps, z, tile);
    store_tile(y, p.length, rows, steps, tile);
  }
  for (int64_t i = 0; p.final && i < Z; ++i) store_rows(p.final + row * Z + i, Z, rows, z[i]);
}

// Filters all rows, one vector of rows at a time; a last single row uses scalar arithmetic.
template <class T>
void filter(const Filter<T>& p) {
  using V = Lanes<double>;
  constexpr int64_t W = kLanes<double>;
  parallel_for((p.rows + W - 1) / W, p.threads, steps_ns(p.order, p.length), [&](int64_t begin, int64_t end) {
    for (int64_t row = W * begin; row < W * end; row += W) p.rows - row > 1 ? filter_rows<V>(p, row) : filter_rows<double>(p, row);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::arma
