// y = (b / a) x along rows, README (2), (3): rows in lanes, time in tiles, in double precision whatever the numbers are.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/parallel.hpp"
#include "ssm/arma/args.hpp"

namespace quatrefoil::ssm::arma {
inline namespace QF_ISA {

constexpr int64_t kSteps = 256;      // of a tile: two vectors a step are 32 KB at most
constexpr int kMostInRegisters = 8;  // states; more lie in memory
constexpr int kMostAtOnce = 3;       // states of two vectors of rows that take turns; with more of them one has enough to do
constexpr double kTermNs = 0.3;      // one multiply-add of a step: estimated

// W rows of numbers, from step t on, as one vector a step; `to` holds whole squares.
template <class V, class T>
void load_tile(const T* x, int64_t stride, int64_t rows, int64_t steps, V* to) {
  constexpr int W = kWidth<V>;
  using F = Lanes<T, W>;
  if constexpr (W == 1) {
    for (int64_t t = 0; t < steps; ++t) to[t] = double(x[t]);
  } else {
    for (int64_t t = 0; t < steps; t += W) {
      F square[W];
      if (rows >= W && steps - t >= W) {
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) square[i] = load<F>(x + i * stride + t);
      } else {
        for (int i = 0; i < W; ++i) square[i] = i < rows ? load_first<F>(x + i * stride + t, steps - t) : F{};
      }
      transpose(square);
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) to[t + i] = converted<double>(square[i]);
    }
  }
}
template <class V, class T>
void store_tile(T* x, int64_t stride, int64_t rows, int64_t steps, const V* from) {
  constexpr int W = kWidth<V>;
  using F = Lanes<T, W>;
  if constexpr (W == 1) {
    for (int64_t t = 0; t < steps; ++t) x[t] = T(from[t]);
  } else {
    for (int64_t t = 0; t < steps; t += W) {
      F square[W];
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) square[i] = converted<T>(from[t + i]);
      transpose(square);
      if (rows >= W && steps - t >= W) {
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) store(x + i * stride + t, square[i]);
      } else {
        for (int i = 0; i < W && i < rows; ++i) store_first(x + i * stride + t, square[i], steps - t);
      }
    }
  }
}

// One number of each of W rows.
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

// (1), (2) b and a of W rows over their a_0, and c_i = b_i - a_i b_0, all with order + 1 numbers; a_0 itself.
template <class V>
struct Coefficients {
  V *b, *a, *c, first;
  static int64_t size(int64_t order) { return 3 * (order + 1); }
  template <class T>
  Coefficients(const Filter<T>& p, int64_t row, int64_t rows, V* memory) : b(memory), a(b + p.order + 1), c(a + p.order + 1) {
    const T *const from_b = p.b + row * (p.b_row ? p.b_taps : 0), *const from_a = p.a + row * (p.a_row ? p.a_taps : 0);
    first = load_rows<V>(from_a, p.a_row, rows);
    if (rows < kWidth<V>) {  // lanes without a row divide by 1
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

// (2), (3) K vectors of rows, kSteps apart in x, which becomes y; kOrder states of each in registers, in z `kOrder` apart.
template <int kOrder, int K, class V>
QF_HD void run_in_registers(const Coefficients<V>* of, int64_t steps, V* z, V* x) {
  V s[K][kOrder + 1];
  for (int k = 0; k < K; ++k) {
    for (int i = 0; i < kOrder; ++i) s[k][i] = z[k * kOrder + i];
    s[k][kOrder] = V{};
  }
  for (int64_t t = 0; t < steps; ++t) {
    QF_UNROLL(2)
    for (int k = 0; k < K; ++k) {
      V& at = x[k * kSteps + t];
      const V u = at, z0 = s[k][0];
      at = multiply_add(of[k].b[0], u, z0);
      QF_UNROLL(8)
      for (int i = 0; i < kOrder; ++i) s[k][i] = multiply_add(V(-of[k].a[i + 1]), z0, multiply_add(of[k].c[i + 1], u, s[k][i + 1]));
    }
  }
  for (int k = 0; k < K; ++k)
    for (int i = 0; i < kOrder; ++i) z[k * kOrder + i] = s[k][i];
}
template <int kOrder, int K, class V>
void run_order(const Coefficients<V>* of, int64_t steps, V* z, V* x) {
  if constexpr (kOrder <= kMostAtOnce)
    run_in_registers<kOrder, K>(of, steps, z, x);
  else
    for (int k = 0; k < K; ++k) run_in_registers<kOrder, 1>(of + k, steps, z + k * kOrder, x + k * kSteps);
}

// The same for any number of states, which lie in memory.
template <class V>
void run_any_order(const Coefficients<V>& of, int64_t order, int64_t steps, V* s, V* x) {
  const V *const a = of.a, *const c = of.c;
  V next = order ? s[0] : V{};
  for (int64_t t = 0; t < steps; ++t) {
    const V u = x[t], z0 = next;
    x[t] = multiply_add(of.b[0], u, z0);
    if (!order) continue;
    next = multiply_add(V(-a[1]), z0, multiply_add(c[1], u, order > 1 ? s[1] : V{}));
    for (int64_t i = 1; i < order; ++i) s[i] = multiply_add(V(-a[i + 1]), z0, multiply_add(c[i + 1], u, i + 1 < order ? s[i + 1] : V{}));
  }
  if (order) s[0] = next;
}

template <int K, class V>
void run_steps(const Coefficients<V> (&of)[K], int64_t order, int64_t steps, V* z, V* x) {
  static_assert(kMostInRegisters == 8);
  switch (order) {
    case 1: return run_order<1, K>(of, steps, z, x);
    case 2: return run_order<2, K>(of, steps, z, x);
    case 3: return run_order<3, K>(of, steps, z, x);
    case 4: return run_order<4, K>(of, steps, z, x);
    case 5: return run_order<5, K>(of, steps, z, x);
    case 6: return run_order<6, K>(of, steps, z, x);
    case 7: return run_order<7, K>(of, steps, z, x);
    case 8: return run_order<8, K>(of, steps, z, x);
    default:
      for (int k = 0; k < K; ++k) run_any_order(of[k], order, steps, z + k * order, x + k * kSteps);
  }
}

inline double steps_ns(int64_t order, int64_t steps, int vectors) { return double(steps * (2 * order + 4) * vectors) * kTermNs; }

// K W rows from `row` on. Reads x once, writes y once.
template <int K, class V, class T>
void filter_rows(const Filter<T>& p, int64_t row) {
  constexpr int W = kWidth<V>;
  const int64_t Z = p.order, size = Coefficients<V>::size(Z);
  const Scratch<V> memory(K * (kSteps + size + Z));
  V *const x = memory, *const z = x + K * kSteps, *const coefficients = z + K * Z;
  const auto rows = [&](int k) { return min<int64_t>(W, p.rows - row - k * W); };
  const auto of = [&](int k) { return Coefficients<V>(p, row + k * W, rows(k), coefficients + k * size); };
  const auto run = [&](const Coefficients<V>(&each)[K]) {
    for (int64_t t = 0; t < p.length; t += kSteps) {
      const int64_t steps = min(kSteps, p.length - t);
      check_interrupt(steps_ns(Z, steps, K));
      for (int k = 0; k < K; ++k) load_tile(p.x + (row + k * W) * p.length + t, p.length, rows(k), steps, x + k * kSteps);
      run_steps(each, Z, steps, z, x);
      for (int k = 0; k < K; ++k) store_tile(p.y + (row + k * W) * p.length + t, p.length, rows(k), steps, x + k * kSteps);
    }
  };
  for (int k = 0; k < K; ++k)
    for (int64_t i = 0; i < Z; ++i) z[k * Z + i] = p.start ? load_rows<V>(p.start + (row + k * W) * Z + i, Z, rows(k)) : V{};
  if constexpr (K == 1)
    run({of(0)});
  else
    run({of(0), of(1)});
  for (int k = 0; p.final && k < K; ++k)
    for (int64_t i = 0; i < Z; ++i) store_rows(p.final + (row + k * W) * Z + i, Z, rows(k), z[k * Z + i]);
}

// Rows go two vectors at a time, for a step of one has to wait for itself; one that is alone needs no lanes.
template <class T>
void filter(const Filter<T>& p) {
  using V = Lanes<double>;
  constexpr int64_t W = kLanes<double>;
  parallel_for((p.rows + 2 * W - 1) / (2 * W), p.threads, steps_ns(p.order, p.length, 2), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = 2 * W * i, left = p.rows - row;
      left > W ? filter_rows<2, V>(p, row) : left > 1 ? filter_rows<1, V>(p, row) : filter_rows<1, double>(p, row);
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::arma
