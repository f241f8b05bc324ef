// The gradient of Gated KalmaNet, README (80) to (86): one pass forward in time that recomputes the states and solves twice a token, one
// pass back that needs no state of the first: neither checkpoints nor a division to run a recurrence backwards.
#pragma once
#include "ssm/kalmanet.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {
namespace kalmanet {

// What the pass back must know of a token beside x, w and H k.
struct Trace {
  double c;        // (81) -a w.x / F, the weight of H in dH
  double along_H;  // <dH, H>
  double along_U;  // <dU, U>
};

// What stays between two segments of the pass back.
template <class T>
struct Tail {
  double sigma;    // (83) RH = N + sigma H
  double along_H;  // (85) <RH, e H_before> of the token after
  double along_U;
  T decay_H, decay_U;  // of the token after
};

template <class T>
struct Backward {
  static int64_t size(const Problem<T>& s) { return State<T>::size(s) + Ridge<T>::size(s) + 13 * s.P; }

  Backward(const GkaVjp<T>& adjoint, const Problem<T>& problem, T* room, double& norm)
      : p(adjoint), s(problem), state(s, room, norm), ridge(s, state, room + State<T>::size(s)) {
    T* next = room + State<T>::size(s) + Ridge<T>::size(s);
    for (T** vector : {&q, &k, &v, &grad, &x, &w, &h, &readout, &sum, &product, &values, &keys, &k_after}) *vector = next, next += s.P;
  }

  void load_token(int64_t i) {
    load_padded(s.D, s.p.q + i * s.D, q), load_padded(s.D, s.p.k + i * s.D, k), load_padded(s.D, s.p.v + i * s.D, v);
    load_padded(s.D, p.grad + i * s.D, grad);
    const T scale = T(1) / square_root(T(s.D));
    combine(s.P, scale, grad, T(0), grad, grad);
  }

  // Solves for x and w; dv holds x and dk holds H k until the pass back replaces them.
  void forward(int64_t head, int64_t t0, int64_t t1, T* ws, Trace* traces, Tail<T>& tail) {
    if (t0 == 0) state.begin(head, h, product);
    if (!s.keeps_H) set_zero(s.P, h);
    for (int64_t t = t0; t < t1; ++t) {
      const int64_t i = s.token(head, t);
      const T alpha = s.alpha(i);
      load_token(i);
      if (s.keeps_H) state.add_key(s.decay_H(i), k, h, product);
      rank_one<false, true>(s.P, RankOne<T>{s.decay_U(i), k, v, nullptr, nullptr, grad, readout}, state.U);  // (80)
      ridge.prepare();
      ridge.solve(q, x);
      combine(s.P, alpha, readout, T(0), readout, sum);
      ridge.solve(sum, w);
      combine(s.P, T(1 - alpha), readout, T(1), w, sum);
      store_unpadded(s.D, sum, p.dq + i * s.D);
      combine(s.P, T(1), x, T(-1), q, sum);
      if (p.dalpha) p.dalpha[i] = dot(s.P, readout, sum);
      combine(s.P, alpha, x, T(1 - alpha), q, sum);
      traces[t] = {0, 0, double(dot(s.P, readout, sum))};
      if (s.solver == Solver::none) {
        set_zero(s.P, w);  // x = q whatever H is
      } else if (!state.zero()) {
        multiply_symmetric(s.tiles, state.H, x, product);
        const double wx = double(dot(s.P, w, x)) * s.p.ridge_strength;
        traces[t].c = -wx / state.norm();
        traces[t].along_H = -double(dot(s.P, w, product)) - wx * state.norm();
      }
      __builtin_memcpy(ws + t * s.P, w, std::size_t(s.P) * sizeof(T));
      store_unpadded(s.D, x, p.dv + i * s.D);
      store_unpadded(s.D, h, p.dk + i * s.D);
    }
    if (t1 == s.p.length) turn(head, tail);
  }

  // Between the passes: the final states give way to their gradients.
  void turn(int64_t head, Tail<T>& tail) {
    const T *grad_H = s.square(p.grad_H, head), *grad_U = s.square(p.grad_U, head);
    tail = {0, 0, 0, T(1), T(1)};
    for (int64_t i = 0; grad_H && i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j)
        tail.along_H += double(grad_H[i * s.D + j]) * double(j <= i ? entry(state.H, i, j) : entry(state.H, j, i));
    for (int64_t i = 0; grad_U && i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j) tail.along_U += double(grad_U[i * s.D + j]) * double(state.U[j * s.P + i]);
    to_tiles(s.D, grad_H, state.H);
    load_transposed(s.D, s.P, grad_U, state.U);
    set_zero(s.P, k_after);
  }

  // state.H holds N, state.U holds RU transposed.
  void back(int64_t head, int64_t t0, int64_t t1, T* ws, const Trace* traces, Tail<T>& tail) {
    for (int64_t t = t1 - 1; t >= t0; --t) {
      const int64_t i = s.token(head, t);
      const T alpha = s.alpha(i);
      load_token(i);
      load_padded(s.D, p.dv + i * s.D, x), load_padded(s.D, p.dk + i * s.D, h);
      w = ws + t * s.P;
      if (s.keeps_H) {
        update_N(tail);
        tail.sigma = traces[t].c + double(tail.decay_H) * double(tail.decay_H) * tail.sigma;
        multiply_symmetric(s.tiles, state.H, k, product);
        combine(s.P, T(1), product, T(tail.sigma), h, product);  // RH k
      } else {
        set_zero(s.P, product);
      }
      combine(s.P, alpha, x, T(1 - alpha), q, sum);
      rank_one<true, true>(s.P, RankOne<T>{tail.decay_U, sum, grad, k, values, v, keys}, state.U);
      combine(s.P, T(2), product, T(1), keys, keys);
      store_unpadded(s.D, keys, p.dk + i * s.D), store_unpadded(s.D, values, p.dv + i * s.D);  // (84)

      tail.decay_H = s.decay_H(i), tail.decay_U = s.decay_U(i);
      tail.along_H = tail.decay_H == 0 ? 0 : tail.along_H + traces[t].along_H - double(dot(s.P, k, product));  // (85)
      tail.along_U = tail.decay_U == 0 ? 0 : tail.along_U + traces[t].along_U - double(dot(s.P, v, values));
      if (p.dgk) p.dgk[i] = T(tail.along_H);
      if (p.dg) p.dg[i] = T(tail.along_U);
      __builtin_memcpy(k_after, k, std::size_t(s.P) * sizeof(T));
    }
    if (t0 == 0) states(head, tail);
  }

  // (82), (83): N <- e (N + sigma k k^T) - (w x^T + x w^T) / 2 with e, sigma, k of the token after. Reads and writes N once.
  void update_N(const Tail<T>& tail) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    const V e = broadcast<V>(tail.decay_H), half = broadcast<V>(T(-0.5));
    combine(s.P, T(double(tail.decay_H) * tail.sigma), k_after, T(0), k_after, product);
    for_tiles(s.tiles, W * W, [&](int64_t I, int64_t J, int64_t offset) {
      const V x_J = half * load<V>(x + J * W), w_J = half * load<V>(w + J * W), k_J = load<V>(product + J * W);
#pragma GCC unroll 4
      for (int i = 0; i < W; ++i) {
        T* const N = state.H + offset + i * W;
        V row = multiply_add(broadcast<V>(k_after[I * W + i]), k_J, V(e * load<V>(N)));
        row = multiply_add(broadcast<V>(w[I * W + i]), x_J, row);
        store(N, multiply_add(broadcast<V>(x[I * W + i]), w_J, row));
      }
    });
  }

  // (86) The gradients of the initial states.
  void states(int64_t head, const Tail<T>& tail) const {
    if (T* const dU0 = s.square(p.dU0, head)) store_transposed(s.D, s.P, tail.decay_U, state.U, dU0);
    T* const dH0 = s.square(p.dH0, head);
    if (!dH0) return;
    const T *H0 = s.square(s.p.H0, head), e = tail.decay_H;
    const T of_k = T(double(e) * tail.sigma), of_H = T(double(e) * double(e) * tail.sigma);
    for (int64_t i = 0; i < s.D; ++i)
      for (int64_t j = 0; j < s.D; ++j) {
        const T N = j <= i ? entry(state.H, i, j) : entry(state.H, j, i);
        dH0[i * s.D + j] = e * N + of_k * (k_after[i] * k_after[j]) + of_H * (H0[i * s.D + j] + H0[j * s.D + i]) / 2;
      }
  }

  const GkaVjp<T>& p;
  const Problem<T>& s;
  State<T> state;
  Ridge<T> ridge;
  T *q, *k, *v, *grad, *x, *w, *h, *readout, *sum, *product, *values, *keys, *k_after;
};

template <class T>
void gka_vjp(const GkaVjp<T>& p) {
  const Problem<T> s(p.forward, p.grad_H != nullptr);
  if (s.D == 0)  // sums over nothing
    for (T* gates : {p.dalpha, p.dg, p.dgk})
      if (gates) set_zero(s.heads * s.p.length, gates);
  if (s.heads == 0 || s.D == 0) return;
  const int64_t at_once = min(s.heads, kHeadsAtOnce), size = Backward<T>::size(s), length = s.p.length;
  const double ns = 2 * token_ns(s);
  const Scratch<T> room(at_once * size), ws(at_once * length * s.P);
  const Scratch<Trace> traces(at_once * length);
  const Scratch<Tail<T>> tails(at_once);
  const Scratch<double> norm(at_once);
  for (int64_t first = 0; first < s.heads; first += at_once) {
    const int64_t count = min(at_once, s.heads - first);
    for (const bool back : {false, true})
      for_segments(s, first, count, ns, back, [&](int64_t slot, int64_t head, int64_t t0, int64_t t1) {
        Backward<T> b(p, s, room + slot * size, norm[slot]);
        T* const w = ws + slot * length * s.P;
        Trace* const trace = traces + slot * length;
        back ? b.back(head, t0, t1, w, trace, tails[slot]) : b.forward(head, t0, t1, w, trace, tails[slot]);
      });
  }
}

}  // namespace kalmanet

template <class T>
constexpr KalmanetKernels<T> kKalmanet = {kalmanet::gka<T>, kalmanet::gka_vjp<T>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
