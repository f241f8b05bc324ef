// The gradient of the selective scan. One state per tile is stored; the others are recomputed tile by tile in the backward pass.
#pragma once
#include "core/run/partial_sums.hpp"
#include "ssm/selective/selective_scan.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kAdjointSteps = 32;     // steps per tile: ten arrays of 64-byte vectors, and those per state, fit in 32 KB of L1
constexpr int kAdjointTasks = 32;     // target; the split of the channels depends only on the sizes, so sums do not depend on the threads
constexpr double kAdjointCost = 3.5;  // cost relative to the forward scan

// The arrays of one tile, and the running values of every state.
template <class V, class S>
struct AdjointMemory {
  Scratch<V> numbers;
  Scratch<S> states;
  V *delta, *slope, *u, *input, *g, *y, *along_A, *along_B;
  S *a, *x, *A, *rate, *carry, *dA, *dB, *dC, *tile_states;
  AdjointMemory(int64_t N, int64_t tiles) : numbers(8 * (kAdjointSteps + 1)), states(2 * kAdjointSteps + 1 + N * (6 + tiles)) {
    V* v = numbers;
    for (V** p : {&delta, &slope, &u, &input, &g, &y, &along_A, &along_B}) {
      *p = v;
      v += kAdjointSteps + 1;
    }
    a = states;
    x = a + kAdjointSteps;  // x[0] is the state before the tile
    S* s = x + kAdjointSteps + 1;
    for (S** p : {&A, &rate, &carry, &dA, &dB, &dC, &tile_states}) {
      *p = s;
      s += N;
    }
  }
};

// (2) The states of one tile from the state before it, with their decays; (3) their contribution to the output, if the gate needs it.
template <bool b_varies, bool c_varies, class V, class S, class E>
void recompute(const AdjointMemory<V, S>& m, S rate, S start, const Coefficient<S, E>& B, const Coefficient<S, E>& C, int64_t steps,
               bool gated) {
  m.x[0] = start;
  for (int64_t t = 0; t < steps; ++t) {
    m.a[t] = decay(m.delta[t], rate);
    start = scan::step(m.a[t], start, scaled(B.template step<b_varies>(t), m.input[t]));
    m.x[t + 1] = start;
  }
  if (gated)
    for (int64_t t = 0; t < steps; ++t) m.y[t] = m.y[t] + readout(C.template step<c_varies>(t), m.x[t + 1]);
}

// (5)-(7) One state of one tile, backwards. The terms of dB and dC at a step overwrite the decay and the state, which are no longer needed.
template <bool b_varies, bool c_varies, class V, class S, class E>
void retreat(const AdjointMemory<V, S>& m, int64_t n, const Coefficient<S, E>& B, const Coefficient<S, E>& C, int64_t steps) {
  S carry = m.carry[n], dA{}, dB{}, dC{};
  const S A = m.A[n];
  for (int64_t t = steps - 1; t >= 0; --t) {
    const S a = m.a[t], mu = readout_adjoint(m.g[t], C.template step<c_varies>(t)) + carry;
    const S to_C = readout_adjoint(m.g[t], m.x[t + 1]), to_B = scaled(mu, m.input[t]),
            to_exponent = scan::factor_adjoint(mu, S(a * m.x[t]));
    m.along_A[t] = m.along_A[t] + inner(A, to_exponent);
    m.along_B[t] = m.along_B[t] + inner(B.template step<b_varies>(t), mu);
    dA = dA + scaled(to_exponent, m.delta[t]);
    carry = conjugate(a) * mu;
    if constexpr (b_varies)
      m.a[t] = to_B;
    else
      dB = dB + to_B;
    if constexpr (c_varies)
      m.x[t + 1] = to_C;
    else
      dC = dC + to_C;
  }
  m.carry[n] = carry;
  m.dA[n] = m.dA[n] + dA;  // one tile at a time: shorter sums have smaller errors
  m.dB[n] = m.dB[n] + dB;
  m.dC[n] = m.dC[n] + dC;
}

template <class T, class E>
struct ScanAdjoint {
  using V = Lanes<T>;
  using S = Pack<E, V>;
  using Tile = ScanTile<T, E>;
  using Memory = AdjointMemory<V, S>;
  const SelectiveScanAdjoint<T, E>& p;
  const SelectiveScan<T, E>& f;
  PartialSums<E> dA, dB, dC;  // dB and dC: one part per task, or one per item as for dA
  PartialSums<T> dD, ddelta_bias;

  // One forward pass that stores the state before every tile.
  void keep_states(const Tile& tile, const Memory& m, V bias) const {
    for (int64_t n = 0; n < f.states; ++n) {
      m.A[n] = gather<S>(f.A + tile.channel * f.states + n, f.states, tile.rows);
      m.rate[n] = decay_rate(m.A[n]);
      m.carry[n] = p.grad_last ? gather<S>(p.grad_last + tile.state(n), f.states, tile.rows) : S{};
      m.dA[n] = m.dB[n] = m.dC[n] = S{};
      m.tile_states[n] = tile.initial(n);
    }
    S* x = m.tile_states;
    for (int64_t t = 0; t + kAdjointSteps < f.length; t += kAdjointSteps, x += f.states) {
      check_interrupt(steps_ns(f, kAdjointSteps));
      prepare(tile, t, kAdjointSteps, bias, m.delta, m.u, m.input);
      for (int64_t n = 0; n < f.states; ++n) {
        const auto B = tile.coefficient(f.B, n, t);
        S state = x[n];
        f.B.varies ? advance<true, false, false>(m.delta, m.input, m.rate[n], state, B, B, kAdjointSteps, m.y)
                   : advance<false, false, false>(m.delta, m.input, m.rate[n], state, B, B, kAdjointSteps, m.y);
        x[f.states + n] = state;
      }
    }
  }

  // (4) The gradient before the gate, and the skip term of the output.
  void prepare_adjoint(const Tile& tile, const Memory& m, int64_t t, int64_t steps, V D, V bias) const {
    prepare(tile, t, steps, bias, m.delta, m.u, m.input);
    tile.load(f.delta, t, steps, m.slope);
    tile.load(p.grad, t, steps, m.g);
    if (f.z.at) tile.load(f.z, t, steps, m.y);
    for (int64_t i = 0; i < steps; ++i) {
      m.slope[i] = f.delta_softplus ? elementary::sigmoid(V(m.slope[i] + bias)) : broadcast<V>(T(1));
      if (f.z.at) m.g[i] = m.g[i] * silu(m.y[i]);
      m.y[i] = D * m.u[i];
      m.along_A[i] = m.along_B[i] = V{};
    }
  }

  // (8), (9)
  void finish(const Tile& tile, const Memory& m, int64_t t, int64_t steps, V D, V& sum_D, V& sum_bias) const {
    V from_D{}, from_bias{};
    for (int64_t i = 0; i < steps; ++i) {
      const V ddelta = (m.along_A[i] + m.u[i] * m.along_B[i]) * m.slope[i];
      m.along_B[i] = m.delta[i] * m.along_B[i] + D * m.g[i];
      m.along_A[i] = ddelta;
      from_D = from_D + m.g[i] * m.u[i];
      from_bias = from_bias + ddelta;
    }
    sum_D = sum_D + from_D;
    sum_bias = sum_bias + from_bias;
    store_steps(p.ddelta + tile.output(t), f.length, tile.rows, steps, m.along_A);
    store_steps(p.du + tile.output(t), f.length, tile.rows, steps, m.along_B);
    if (!p.dz) return;
    tile.load(p.grad, t, steps, m.g);
    tile.load(f.z, t, steps, m.u);
    for (int64_t i = 0; i < steps; ++i) m.y[i] = m.g[i] * silu_slope(m.u[i]) * m.y[i];
    store_steps(p.dz + tile.output(t), f.length, tile.rows, steps, m.y);
  }

  // Reads u, delta, z, grad, B and C of a tile (u, delta and B twice); writes du, ddelta and dz once. Gradients of arguments that do not
  // vary in time are summed in registers. Those of B and C are sums over W channels, added to the task's elements.
  void run(const Tile& tile, const Memory& m, int64_t task) const {
    const V D = tile.per_channel(f.D), bias = tile.per_channel(f.delta_bias);
    V sum_D{}, sum_bias{};
    keep_states(tile, m, bias);
    for (int64_t t = (f.length - 1) / kAdjointSteps * kAdjointSteps; f.length && t >= 0; t -= kAdjointSteps) {
      check_interrupt(steps_ns(f, kAdjointSteps) * kAdjointCost);
      const int64_t steps = min<int64_t>(kAdjointSteps, f.length - t);
      const S* tile_states = m.tile_states + t / kAdjointSteps * f.states;
      prepare_adjoint(tile, m, t, steps, D, bias);
      for (int64_t n = 0; n < f.states; ++n) {
        const auto B = tile.coefficient(f.B, n, t), C = tile.coefficient(f.C, n, t);
        with_bools(f.B.varies, f.C.varies, [&](auto b, auto c) {
          recompute<decltype(b)::value, decltype(c)::value>(m, m.rate[n], tile_states[n], B, C, steps, p.dz != nullptr);
          retreat<decltype(b)::value, decltype(c)::value>(m, n, B, C, steps);
        });
        if (f.B.varies) add_channels(dB.part(task) + n * f.length + t, steps, m.a);
        if (f.C.varies) add_channels(dC.part(task) + n * f.length + t, steps, m.x + 1);
      }
      finish(tile, m, t, steps, D, sum_D, sum_bias);
    }
    for (int64_t n = 0; n < f.states; ++n) {
      const auto put = [&](const PartialSums<E>& parts, S s) {
        scatter(parts.part(tile.item) + tile.channel * f.states + n, f.states, tile.rows, s);
      };
      put(dA, m.dA[n]);
      if (!f.B.varies) put(dB, m.dB[n]);
      if (!f.C.varies) put(dC, m.dC[n]);
      if (p.dinitial) scatter(p.dinitial + tile.state(n), f.states, tile.rows, m.carry[n]);
    }
    if (dD) scatter(dD.part(tile.item) + tile.channel, 1, tile.rows, sum_D);
    if (ddelta_bias) scatter(ddelta_bias.part(tile.item) + tile.channel, 1, tile.rows, sum_bias);
  }
};

template <class T, class E>
void selective_scan_adjoint(const SelectiveScanAdjoint<T, E>& p) {
  using Adjoint = ScanAdjoint<T, E>;
  const auto& f = p.forward;
  const bool empty = f.items * f.channels == 0;
  const ScanTiling<T, E> tiling(f);
  const int64_t wanted = empty ? 0 : (kAdjointTasks + f.items * tiling.runs - 1) / (f.items * tiling.runs);
  const int64_t slots = min(tiling.tiles, max<int64_t>(wanted, 1)), tasks = empty ? 0 : f.items * tiling.runs * slots;
  const auto mixing = [&](E* out, const Mixing<E>& m) -> PartialSums<E> {
    if (!m.varies) return {out, 1, f.items, f.channels * f.states};
    return {out, f.items * m.groups, empty ? 0 : tiling.runs / m.groups * slots, f.states * f.length};
  };
  const Adjoint adjoint{p,
                        f,
                        {p.dA, 1, f.items, f.channels * f.states},
                        mixing(p.dB, f.B),
                        mixing(p.dC, f.C),
                        {p.dD, 1, f.items, f.channels},
                        {p.ddelta_bias, 1, f.items, f.channels}};
  const double task_ns = steps_ns(f, f.length) * kAdjointCost * double(tiling.tiles) / double(max<int64_t>(slots, 1));
  parallel_for(tasks, f.threads, task_ns, [&](int64_t begin, int64_t end) {
    const typename Adjoint::Memory memory(f.states, f.length / kAdjointSteps + 1);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t slot = task % slots, r = task / slots;
      for (const auto* parts : {&adjoint.dB, &adjoint.dC})
        if ((parts == &adjoint.dB ? f.B : f.C).varies) set_zero(parts->part(task), f.states * f.length);
      for (int64_t i = slot * tiling.tiles / slots; i < (slot + 1) * tiling.tiles / slots; ++i)
        adjoint.run(tiling.tile(f, r / tiling.runs, r % tiling.runs, i), memory, task);
    }
  });
  for (const auto* parts : {&adjoint.dA, &adjoint.dB, &adjoint.dC}) parts->add_up(f.threads);
  for (const auto* parts : {&adjoint.dD, &adjoint.ddelta_bias}) parts->add_up(f.threads);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
