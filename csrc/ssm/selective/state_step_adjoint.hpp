// The gradient of one step of a selective state, README (16)-(18): one pass for sums over items and one for sums over dims.
#pragma once
#include "ssm/selective/state_step.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

// A tile with its step sizes, its inputs, and g, the gradient before the gate.
template <class T>
struct StepAdjointTile : StepTile<T> {
  using V = Lanes<T>;
  const StateStepAdjoint<T>& q;
  V raw, step, x, input, z, grad, g;

  StepAdjointTile(const StateStepAdjoint<T>& q, int64_t item, int64_t head, int64_t dim)
      : StepTile<T>(q.forward, item, head, dim, q.forward.dims), q(q) {
    const auto& f = q.forward;
    raw = this->raw_step(), step = this->step_size(raw), x = this->per_dim(f.x), input = step * x;
    z = this->per_dim(f.z), grad = this->per_dim(q.grad), g = f.z.at ? V(grad * silu(z)) : grad;
  }

  // (16) for the states n, n + 1, ... of dim i.
  struct Terms {
    V A, B, C, decayed, x, mu, a;  // decayed: a x; x: x'
  };
  Terms terms(int i, int64_t n) const {
    const auto& f = q.forward;
    Terms t;
    t.A = load_row<V>(this->A(i), f.A.state, n, f.states);
    t.B = load_row<V>(this->mixing(f.B), f.B.state, n, f.states), t.C = load_row<V>(this->mixing(f.C), f.C.state, n, f.states);
    t.a = decay(broadcast<V>(step[i]), decay_rate(t.A));
    t.decayed = t.a * load_row<V>(this->state(i), f.state.state, n, f.states);
    t.x = multiply_add(t.B, broadcast<V>(input[i]), t.decayed);
    const T* const after = q.grad_next + this->first_state() + i * f.states + n;
    t.mu = multiply_add(t.C, broadcast<V>(g[i]), load_first<V>(after, f.states - n));
    return t;
  }
};

// (16), (17) Processes W dims of one head in all items: dA, dD and dbias are summed in the order of the items.
template <class T>
void step_back_dims(const StateStepAdjoint<T>& q, int64_t head, int64_t dim) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const auto& f = q.forward;
  const int64_t N = f.states, channel = head * f.dims + dim;
  const int rows = int(min<int64_t>(W, f.dims - dim));
  T* const dA = q.dA + channel * N;
  set_zero(dA, rows * N);
  V dD{}, dbias{};
  for (int64_t item = 0; item < f.items; ++item) {
    const StepAdjointTile<T> tile(q, item, head, dim);
    const int64_t at = tile.number();
    if (tile.row < 0) {
      for (T* const to : {q.dx, q.ddt, q.dz})
        if (to) store_first(to + at, V{}, rows);
      continue;
    }
    check_interrupt(double(rows * N) * 4 * kStateStepNs);
    T* const dstate = q.dstate + tile.first_state();
    V y[W]{}, along_A[W]{}, along_B[W]{};
    for (int i = 0; i < rows; ++i) {
      for (int64_t n = 0; n < N; n += W) {
        const auto t = tile.terms(i, n);
        const V to_exponent = t.mu * t.decayed;
        y[i] = multiply_add(t.C, t.x, y[i]);
        along_A[i] = multiply_add(t.A, to_exponent, along_A[i]), along_B[i] = multiply_add(t.B, t.mu, along_B[i]);
        T* const to_A = dA + i * N + n;
        store_first(to_A, multiply_add(broadcast<V>(tile.step[i]), to_exponent, load_first<V>(to_A, N - n)), N - n);
        store_first(dstate + i * N + n, V(t.a * t.mu), N - n);
      }
    }
    const V D = tile.per_dim(f.D), sum_B = sum_each(along_B);
    V ddelta = multiply_add(tile.x, sum_B, sum_each(along_A));
    if (f.softplus) ddelta = ddelta * elementary::sigmoid(tile.raw);
    store_first(q.ddt + at, ddelta, rows);
    store_first(q.dx + at, multiply_add(tile.step, sum_B, V(D * tile.g)), rows);
    if (q.dz) store_first(q.dz + at, V(tile.grad * silu_slope(tile.z) * multiply_add(D, tile.x, sum_each(y))), rows);
    dD = multiply_add(tile.g, tile.x, dD), dbias = dbias + ddelta;
  }
  if (q.dD) store_first(q.dD + channel, dD, rows);
  if (q.dbias) store_first(q.dbias + channel, dbias, rows);
}

// (18) Computes dB and dC of one group of one item: over its heads and dims, W dims at a time.
template <class T>
void step_back_mixing(const StateStepAdjoint<T>& q, int64_t item, int64_t group, Lanes<T>* dB, Lanes<T>* dC) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const auto& f = q.forward;
  const int64_t N = f.states, heads = f.heads / f.groups, to = (item * f.groups + group) * N;
  for (int64_t k = 0; k * W < N; ++k) dB[k] = dC[k] = V{};
  for (int64_t head = group * heads; head < (group + 1) * heads; ++head)
    for (int64_t dim = 0; dim < f.dims; dim += W) {
      const StepAdjointTile<T> tile(q, item, head, dim);
      if (tile.row < 0) continue;
      check_interrupt(double(tile.rows * N) * 3 * kStateStepNs);
      for (int64_t n = 0; n < N; n += W) {
        V to_B{}, to_C{};
        for (int i = 0; i < tile.rows; ++i) {
          const auto t = tile.terms(i, n);
          to_B = multiply_add(t.mu, broadcast<V>(tile.input[i]), to_B), to_C = multiply_add(t.x, broadcast<V>(tile.g[i]), to_C);
        }
        dB[n / W] = dB[n / W] + to_B, dC[n / W] = dC[n / W] + to_C;
      }
    }
  for (int64_t n = 0; n < N; n += W) {
    store_first(q.dB + to + n, dB[n / W], N - n);
    store_first(q.dC + to + n, dC[n / W], N - n);
  }
}

template <class T>
void state_step_adjoint(const StateStepAdjoint<T>& q) {
  const auto& f = q.forward;
  const int64_t N = f.states, tiles = (f.dims + kLanes<T> - 1) / kLanes<T>;
  const double tile_ns = double(kLanes<T> * (N + 8)) * kStateStepNs;
  const Grid<const T> after{q.grad_next, f.heads * f.dims * N, f.dims * N, N, 1};
  copy_other_rows(f, after, q.dstate);
  parallel_for(f.heads * tiles, f.threads, double(f.items) * 4 * tile_ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) step_back_dims(q, i / tiles, i % tiles * kLanes<T>);
  });
  parallel_for(f.items * f.groups, f.threads, double(f.heads / f.groups * tiles) * 3 * tile_ns, [&](int64_t begin, int64_t end) {
    const int64_t blocks = (N + kLanes<T> - 1) / kLanes<T>;
    const Scratch<Lanes<T>> sums(2 * blocks);
    for (int64_t i = begin; i < end; ++i) step_back_mixing(q, i / f.groups, i % f.groups, sums, sums + blocks);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
