// The gradient of Gated KalmaNet, README (11) to (18). A forward pass recomputes the states and solves two systems per token. The backward
// pass needs no states from the forward pass, so nothing is checkpointed, and no recurrence is inverted by division.
#pragma once
#include "ssm/kalmanet/mixed.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// Values that the backward pass needs per token in addition to x, w and H k.
struct Trace {
  double c;        // (12) -a w.x / F, the weight of H in dH
  double along_H;  // <dH, H>
  double along_U;  // <dU, U>
};

// The state of the backward pass between two segments.
struct Tail {
  double sigma;    // (14) RH = N + sigma H
  double along_H;  // (16) <RH, e H_before> of the next token
  double along_U;
  double decay_H, decay_U;  // decays of the next token
};

// Computes in float64 for every array type (18).
template <class T>
struct HeadAdjoint {
  using A = double;
  static int64_t size(const Problem<T, A>& s) { return State<T, A>::size(s) + MixedRidge<T, A>::size(s) + 14 * s.P; }
  static int64_t narrow_size(const Problem<T, A>& s) { return MixedRidge<T, A>::narrow_size(s); }

  HeadAdjoint(const GkaAdjoint<T>& adjoint, const Problem<T, A>& problem, A* workspace, T* narrow_workspace, double& norm)
      : p(adjoint), s(problem), state(s, workspace, norm), ridge(s, state, workspace + State<T, A>::size(s), narrow_workspace) {
    A* next = workspace + State<T, A>::size(s) + MixedRidge<T, A>::size(s);
    for (A** vector : {&q, &k, &v, &grad, &x, &w, &h, &readout, &sum, &product, &values, &keys, &k_after, &difference})
      *vector = next, next += s.P;
  }

  void load_token(int64_t i) {
    load_padded(s.D, s.p.q + i * s.D, q), load_padded(s.D, s.p.k + i * s.D, k), load_padded(s.D, s.p.v + i * s.D, v);
    load_padded(s.D, p.grad + i * s.D, grad);
    const A scale = 1 / square_root(A(s.D));
    combine(s.P, scale, grad, A(0), grad, grad);
  }

  // Solves for x and w. Until the backward pass replaces them, dv stores x and dk stores H k.
  void forward(int64_t head, int64_t t0, int64_t t1, T* ws, Trace* traces, Tail& tail) {
    if (t0 == 0) state.begin(head, h, product), ridge.begin();
    if (!s.keeps_H) set_zero(h, s.P);
    const double ns = 2 * token_ns(s);
    InterruptCheck check;
    for (int64_t t = t0; t < t1; ++t) {
      check(ns);
      const int64_t i = s.token(head, t);
      load_token(i);
      if (s.keeps_H) ridge.add_key(state.add_key(s.decay_H(i), k, h, product), k, product);
      rank_one<false, true>(s.P, RankOne<A>{s.decay_U(i), k, v, nullptr, nullptr, grad, readout}, state.U);  // (11)
      ridge.solve(t, q, x), ridge.solve(t, readout, w);
      keep_solutions(i, ws + t * s.D);
      traces[t] = trace(s.alpha(i));
      store_unpadded(s.D, h, p.dk + i * s.D);
    }
    if (t1 == s.p.length) begin_backward(head, tail);
  }

  // (11). Stores x and w, then reloads the rounded values: the sums (16) cancel only if every term uses the same values.
  void keep_solutions(int64_t i, T* stored_w) {
    const A alpha = s.alpha(i);
    combine(s.P, A(1), w, A(-1), readout, difference);
    if (p.dalpha) p.dalpha[i] = T(dot(s.P, difference, q));
    combine(s.P, alpha, w, A(0), w, w);
    combine(s.P, 1 - alpha, readout, A(1), w, sum);
    store_unpadded(s.D, sum, p.dq + i * s.D);
    if (s.solver == Solver::none) set_zero(w, s.P);  // x = q for any H
    store_unpadded(s.D, x, p.dv + i * s.D), load_padded(s.D, p.dv + i * s.D, x);
    store_unpadded(s.D, w, stored_w), load_padded(s.D, stored_w, w);
  }

  Trace trace(A alpha) {
    combine(s.P, alpha, x, 1 - alpha, q, sum);
    Trace result{0, 0, dot(s.P, readout, sum)};
    if (s.solver == Solver::none || state.zero()) return result;
    multiply_symmetric(s.tiles, state.H, x, product);
    const double wx = dot(s.P, w, x) * s.p.ridge_strength;
    result.c = -wx / state.norm();
    result.along_H = -dot(s.P, w, product) - wx * state.norm();
    return result;
  }

  // Between the passes: replaces the final states by their gradients.
  void begin_backward(int64_t head, Tail& tail) {
    const T *grad_H = s.square(p.grad_H, head), *grad_U = s.square(p.grad_U, head);
    tail = {0, 0, 0, 1, 1};
    for (int64_t i = 0; grad_H && i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j) tail.along_H += A(grad_H[i * s.D + j]) * (j <= i ? entry(state.H, i, j) : entry(state.H, j, i));
    for (int64_t i = 0; grad_U && i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j) tail.along_U += A(grad_U[i * s.D + j]) * state.U[j * s.P + i];
    to_tiles(s.D, grad_H, state.H);
    load_transposed(s.D, s.P, grad_U, state.U);
    set_zero(k_after, s.P);
  }

  // state.H is N and state.U is RU transposed.
  void back(int64_t head, int64_t t0, int64_t t1, const T* ws, const Trace* traces, Tail& tail) {
    InterruptCheck check;
    for (int64_t t = t1 - 1; t >= t0; --t) {
      check(10 * double(s.P * s.P) * kMultiplyAddNs<A>);
      const int64_t i = s.token(head, t);
      const A alpha = s.alpha(i);
      load_token(i);
      load_padded(s.D, p.dv + i * s.D, x), load_padded(s.D, p.dk + i * s.D, h), load_padded(s.D, ws + t * s.D, w);
      if (s.keeps_H) {
        update_N(tail);
        tail.sigma = traces[t].c + tail.decay_H * tail.decay_H * tail.sigma;
        multiply_symmetric(s.tiles, state.H, k, product);
        combine(s.P, A(1), product, tail.sigma, h, product);  // RH k
      } else {
        set_zero(product, s.P);
      }
      combine(s.P, alpha, x, 1 - alpha, q, sum);
      rank_one<true, true>(s.P, RankOne<A>{tail.decay_U, sum, grad, k, values, v, keys}, state.U);
      combine(s.P, A(2), product, A(1), keys, keys);
      store_unpadded(s.D, keys, p.dk + i * s.D), store_unpadded(s.D, values, p.dv + i * s.D);  // (15)

      tail.decay_H = s.decay_H(i), tail.decay_U = s.decay_U(i);
      tail.along_H = tail.decay_H == 0 ? 0 : tail.along_H + traces[t].along_H - dot(s.P, k, product);  // (16)
      tail.along_U = tail.decay_U == 0 ? 0 : tail.along_U + traces[t].along_U - dot(s.P, v, values);
      if (p.dgk) p.dgk[i] = T(tail.along_H);
      if (p.dg) p.dg[i] = T(tail.along_U);
      __builtin_memcpy(k_after, k, std::size_t(s.P) * sizeof(A));
    }
    if (t0 == 0) states(head, tail);
  }

  // (13), (14): N <- e (N + sigma k k^T) - (w x^T + x w^T) / 2, where e, sigma, k belong to the next token. Reads and writes N once.
  void update_N(const Tail& tail) {
    using V = Lanes<A>;
    constexpr int W = kLanes<A>;
    const V e = broadcast<V>(tail.decay_H), half = broadcast<V>(A(-0.5));
    combine(s.P, tail.decay_H * tail.sigma, k_after, A(0), k_after, product);
    for_tiles(s.tiles, W * W, [&](int64_t I, int64_t J, int64_t offset) {
      const V x_J = half * load<V>(x + J * W), w_J = half * load<V>(w + J * W), k_J = load<V>(product + J * W);
#pragma GCC unroll 4
      for (int i = 0; i < W; ++i) {
        A* const N = state.H + offset + i * W;
        V row = multiply_add(broadcast<V>(k_after[I * W + i]), k_J, V(e * load<V>(N)));
        row = multiply_add(broadcast<V>(w[I * W + i]), x_J, row);
        store(N, multiply_add(broadcast<V>(x[I * W + i]), w_J, row));
      }
    });
  }

  // (17) The gradients of the initial states.
  void states(int64_t head, const Tail& tail) const {
    if (T* const dU0 = s.square(p.dU0, head)) store_transposed(s.D, s.P, tail.decay_U, state.U, dU0);
    T* const dH0 = s.square(p.dH0, head);
    if (!dH0) return;
    const T* H0 = s.square(s.p.H0, head);
    const A e = tail.decay_H, of_k = e * tail.sigma, of_H = e * e * tail.sigma;
    for (int64_t i = 0; i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j) {
        const A N = j <= i ? entry(state.H, i, j) : entry(state.H, j, i), H = (A(H0[i * s.D + j]) + A(H0[j * s.D + i])) / 2;
        dH0[i * s.D + j] = T(e * N + of_k * (k_after[i] * k_after[j]) + of_H * H);
      }
  }

  const GkaAdjoint<T>& p;
  const Problem<T, A>& s;
  State<T, A> state;
  MixedRidge<T, A> ridge;
  A *q, *k, *v, *grad, *x, *w, *h, *readout, *sum, *product, *values, *keys, *k_after, *difference;
};

template <class T>
void gka_adjoint(const GkaAdjoint<T>& p) {
  using A = typename HeadAdjoint<T>::A;
  const Problem<T, A> s(p.forward, p.grad_H != nullptr);
  if (s.D == 0)  // empty sums
    for (T* gates : {p.dalpha, p.dg, p.dgk})
      if (gates) set_zero(gates, s.heads * s.p.length);
  if (s.heads == 0 || s.D == 0) return;
  const int64_t at_once = min(s.heads, kHeadsAtOnce), size = HeadAdjoint<T>::size(s), length = s.p.length;
  const double ns = 2 * token_ns(s);
  const int64_t narrow_size = HeadAdjoint<T>::narrow_size(s);
  const Scratch<A> workspace(at_once * size);
  const Scratch<T> narrow_workspace(at_once * narrow_size), ws(at_once * length * s.D);
  const Scratch<Trace> traces(at_once * length);
  const Scratch<Tail> tails(at_once);
  const Scratch<double> norm(at_once);
  for (int64_t first = 0; first < s.heads; first += at_once) {
    const int64_t count = min(at_once, s.heads - first);
    for (const bool back : {false, true})
      for_segments(s, first, count, ns, back, [&](int64_t slot, int64_t head, int64_t t0, int64_t t1) {
        HeadAdjoint<T> b(p, s, workspace + slot * size, narrow_workspace + slot * narrow_size, norm[slot]);
        T* const w = ws + slot * length * s.D;
        Trace* const trace = traces + slot * length;
        back ? b.back(head, t0, t1, w, trace, tails[slot]) : b.forward(head, t0, t1, w, trace, tails[slot]);
      });
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
