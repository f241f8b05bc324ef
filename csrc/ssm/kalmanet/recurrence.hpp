// Gated KalmaNet: for each head and token, rank-one updates of two D x D states and a ridge regression with the first of them.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"
#include "ssm/kalmanet/args.hpp"
#include "ssm/kalmanet/formula.hpp"
#include "ssm/kalmanet/rank_one.hpp"
#include "ssm/kalmanet/symmetric.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// ---------------------------------------------------------------- vectors of padded length

template <class T>
T dot(int64_t P, const T* a, const T* b) {
  using V = Lanes<T>;
  V s{};
  for (int64_t i = 0; i < P; i += kLanes<T>) s = multiply_add(load<V>(a + i), load<V>(b + i), s);
  return sum(s);
}
// to = a x + b y
template <class T>
void combine(int64_t P, T a, const T* x, T b, const T* y, T* to) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < P; i += kLanes<T>) store(to + i, multiply_add(broadcast<V>(a), load<V>(x + i), V(b * load<V>(y + i))));
}
// T is the type of the arrays, A that of the vectors in the computation.
template <class T, class A>
void load_padded(int64_t D, const T* from, A* to) {
  constexpr int W = kLanes<A>;
  for (int64_t i = 0; i < D; i += W) store(to + i, converted<A>(load_first<Lanes<T, W>>(from + i, D - i)));
}
template <class T, class A>
void store_unpadded(int64_t D, const A* from, T* to) {
  for (int64_t i = 0; i < D; i += kLanes<A>) store_first(to + i, converted<T>(load<Lanes<A>>(from + i)), D - i);
}

// ---------------------------------------------------------------- shared by all heads of a call

constexpr double kDegreeNs = 10;  // one degree of the polynomial (estimate)

// (5) The polynomial of num_iter steps, split at the upper end and folded. Degrees with weights below a rounding error are omitted.
template <class T>
class Series {
 public:
  Series(double ridge_strength, int64_t num_iter, double negligible)
      : last(int64_t(min(double(max<int64_t>(num_iter - 1, 0)), negligible)) / 2),
        upper_end(T(chebyshev_upper_end(ridge_strength, double(num_iter + 1)))),
        even_(last + 1),
        odd_(last + 1) {
    const double mu = chebyshev_root(ridge_strength), n = double(num_iter + 1);
    double geometric = 0, once = 0, twice = 0, above = 0;  // above: odd[j + 1]
    for (int64_t j = 0; j <= last; ++j) even_[j] = odd_[j] = 0;
    InterruptCheck check;
    for (int64_t degree = num_iter - 1; degree >= 0; --degree) {
      check(kDegreeNs);
      geometric = 1 + mu * mu * geometric;
      once = chebyshev_weight(mu, double(degree + 1), n, geometric) - once;
      twice = once - twice;
      if (degree / 2 > last) continue;
      if (degree % 2 == 0)
        even_[degree / 2] = T(degree ? twice : twice / 2);
      else
        odd_[degree / 2] = T(above = degree == 1 ? twice - above / 2 : 2 * twice - above);
    }
  }
  T even(int64_t j) const { return even_[j]; }
  T odd(int64_t j) const { return odd_[j]; }

  const int64_t last;  // degree in S
  const T upper_end;   // F times the polynomial at the upper end

 private:
  Scratch<T> even_, odd_;
};

constexpr int64_t kFitsL1 = 24 << 10;  // bytes that fit in an L1 cache of 32 KiB

template <class A>
double product_ns(int64_t D) {  // with a symmetric matrix
  return 2 * double(tiled_size<A>(D)) * kMultiplyAddNs<A>;
}

// T is the type of the arrays, A that of the arithmetic.
template <class T, class A = T>
struct Problem {
  Problem(const Gka<T>& args, bool needs_H)
      : p(args),
        solver(solver_of(args)),
        keeps_H(needs_H || solver != Solver::none),
        heads(args.B * args.heads),
        D(args.D),
        P(padded<A>(D)),
        tiles(tiles_across<A>(D)),
        series(args.ridge_strength, solver == Solver::chebyshev ? args.num_iter : 0, negligible_degree<T>(args.ridge_strength)) {}

  int64_t token(int64_t head, int64_t t) const { return (head / p.heads * p.length + t) * p.heads + head % p.heads; }
  A alpha(int64_t token) const { return p.alpha ? A(p.alpha[token]) : A(1); }
  A decay_U(int64_t token) const { return p.g ? elementary::exp(A(p.g[token])) : A(1); }
  A decay_H(int64_t token) const { return p.gk ? elementary::exp(A(p.gk[token])) : A(1); }
  // The matrix of one head in a (B, heads, D, D) array; null if the array is.
  template <class E>
  E* square(E* x, int64_t head) const {
    return x ? x + head * D * D : nullptr;
  }

  const Gka<T>& p;
  const Solver solver;
  const bool keeps_H;  // whether any result depends on H
  const int64_t heads, D, P, tiles;
  const Series<A> series;
};

// ---------------------------------------------------------------- the states of one head

// Applies (1), (9) to H and M in tiles. Reads and writes H once, and M too if `with_M`.
template <bool with_M, class A>
void update_squares(int64_t tiles, const KeyUpdate<A>& u, const A* k, const A* m, A* H, A* M) {
  using V = Lanes<A>;
  constexpr int W = kLanes<A>;
  const V e = broadcast<V>(u.e), a = broadcast<V>(u.a), b = broadcast<V>(u.b);
  for_tiles(tiles, W * W, [&](int64_t I, int64_t J, int64_t offset) {
    const V k_J = load<V>(k + J * W), m_J = load<V>(m + J * W);
#pragma GCC unroll 4
    for (int i = 0; i < W; ++i) {
      A *const H_i = H + offset + i * W, *const M_i = M + offset + i * W;
      const V old = keep(load<V>(H_i)), k_i = broadcast<V>(k[I * W + i]);
      store(H_i, multiply_add(e, old, V(k_i * k_J)));
      if (with_M) {
        V row = multiply_add(k_i, m_J, V(b * old));
        row = multiply_add(broadcast<V>(m[I * W + i]), k_J, row);
        store(M_i, multiply_add(a, load<V>(M_i), row));
      }
    }
  });
}

// H and M in tiles, U transposed: row j is U[., j] = sum_t k_j v, so that update and readout are one pass along rows.
template <class T, class A = T>
class State {
 public:
  static int64_t size(const Problem<T, A>& s) { return 2 * tiled_size<A>(s.D) + s.P * s.P; }
  State(const Problem<T, A>& s, A* workspace, double& norm)
      : H(workspace), M(H + tiled_size<A>(s.D)), U(M + tiled_size<A>(s.D)), s_(s), norm_(norm) {}

  void begin(int64_t head, A* column, A* product) {
    load_transposed(s_.D, s_.P, s_.square(s_.p.U0, head), U);
    norm_ = 0;
    if (!s_.keeps_H) return;
    const T* H0 = s_.square(s_.p.H0, head);
    to_tiles(s_.D, H0, H);
    to_tiles<T>(s_.D, nullptr, M);
    if (H0) begin_from_H(column, product);
  }

  // (1), (9). On return h is (new H) k and m is the m of (9). Reads H twice and writes it once; reads and writes M once if the solver uses
  // it.
  KeyUpdate<A> add_key(A e, const A* k, A* h, A* m) {
    multiply_symmetric(s_.tiles, H, k, h);
    const A kk = dot(s_.P, k, k);
    const KeyUpdate<A> u = key_update<T>(e, norm_, double(dot(s_.P, k, h)), double(kk));
    norm_ = u.norm;
    combine(s_.P, u.from_h, h, u.from_k, k, m);
    combine(s_.P, u.e, h, kk, k, h);
    s_.solver == Solver::chebyshev ? update_squares<true>(s_.tiles, u, k, m, H, M) : update_squares<false>(s_.tiles, u, k, m, H, M);
    return u;
  }

  double norm() const { return norm_; }
  bool zero() const { return norm() < kMinNormal<T>; }

  A *const H, *const M, *const U;

 private:
  // Computes the norm of H, and M = 16 (H^2 / F^2 - H / F), column by column: D products, about the time of a few tokens.
  void begin_from_H(A* column, A* product) {
    constexpr int W = kLanes<A>;
    double norm2 = 0;
    for (int64_t i = 0; i < s_.D; ++i)
      for (int64_t j = 0; j <= i; ++j) norm2 += (i == j ? 1.0 : 2.0) * double(entry(H, i, j)) * double(entry(H, i, j));
    norm_ = square_root(norm2);
    if (s_.solver != Solver::chebyshev || zero()) return;
    const A F = A(norm());
    for (int64_t j = 0; j < s_.D; ++j) {
      check_interrupt(product_ns<A>(s_.D));
      for (int64_t i = 0; i < s_.P; ++i) column[i] = (i / W >= j / W ? entry(H, i, j) : entry(H, j, i)) / F;
      multiply_symmetric(s_.tiles, H, column, product);
      for (int64_t i = j / W * W; i < s_.P; ++i) entry(M, i, j) = 16 * (product[i] / F - column[i]);
    }
  }

  const Problem<T, A>& s_;
  double& norm_;
};

// ---------------------------------------------------------------- the ridge regression of one token

// (6), (7): the state of the recurrence and the sums so far. Before each call, the caller computes the products with H and M and stores
// them in d:
//   begin    d = H q
//   step     d = d + M w
//   end      d = H odd
template <class A>
struct Expansion {
  A *w, *d, *odd, *even;

  // On entry d = H q.
  void begin(int64_t P, const Series<A>& c, A inverse, const A* q) const {
    combine(P, A(1), q, -inverse, d, w);
    combine(P, c.even(0), w, A(0), w, even);
    combine(P, c.odd(0), w, A(0), w, odd);
    set_zero(d, P);
  }
  // Continues to degree j. On entry M w has been added to d.
  template <class S>
  void step(int64_t P, const Series<S>& c, int64_t j) const {
    using V = Lanes<A>;
    const V even_j = broadcast<V>(A(c.even(j))), odd_j = broadcast<V>(A(c.odd(j)));
    for (int64_t i = 0; i < P; i += kLanes<A>) {
      V d_i = load<V>(d + i);
      if (j == 1) store(d + i, d_i = A(0.5) * d_i);
      const V w_i = load<V>(w + i) + d_i;
      store(w + i, w_i);
      store(even + i, multiply_add(even_j, w_i, load<V>(even + i)));
      store(odd + i, multiply_add(odd_j, w_i, load<V>(odd + i)));
    }
  }
  // On entry d = H odd. x may be the same memory as `even`.
  void end(int64_t P, const Series<A>& c, A inverse, const A* q, A* x) const {
    using V = Lanes<A>;
    for (int64_t i = 0; i < P; i += kLanes<A>) {
      const V rest = load<V>(even + i) + (load<V>(odd + i) - (2 * inverse) * load<V>(d + i));
      store(x + i, V(inverse * (c.upper_end * load<V>(q + i) + A(16) * rest)));
    }
  }
};

template <class T, class A = T>
class Ridge {
 public:
  static int64_t size(const Problem<T, A>& s) { return s.solver == Solver::exact ? (s.D + 1) * s.P : 3 * s.P; }
  Ridge(const Problem<T, A>& s, const State<T, A>& state, A* workspace) : s_(s), state_(state), workspace_(workspace) {}

  // Call this whenever H has changed. The exact solver eliminates H here, once for all right-hand sides.
  void prepare() {
    if (s_.solver != Solver::exact || state_.zero()) return;
    constexpr int W = kLanes<A>;
    for (int64_t i = 0; i < s_.D; ++i) {
      A* const row = workspace_ + i * s_.P;
      for (int64_t j = 0; j <= i; j += W) __builtin_memcpy(row + j, &entry(state_.H, i, j), W * sizeof(A));
      row[i] += A(s_.p.ridge_strength * state_.norm());
    }
    eliminate(s_.D, workspace_, s_.P, workspace_ + s_.D * s_.P);
  }

  // x ~ (H + lambda I)^-1 q. Without a solver, x = q; otherwise x = 0 if H is 0 (3).
  void solve(const A* q, A* x) const {
    if (s_.solver != Solver::none && state_.zero()) {
      set_zero(x, s_.P);
    } else if (s_.solver == Solver::chebyshev) {
      chebyshev(q, x);
    } else {
      __builtin_memcpy(x, q, std::size_t(s_.P) * sizeof(A));
      if (s_.solver == Solver::exact) solve_eliminated(s_.D, workspace_, s_.P, workspace_ + s_.D * s_.P, x);
    }
  }

 private:
  // (6), (7). Reads the tiles of M once per two degrees of the polynomial and those of H twice in all.
  void chebyshev(const A* q, A* x) const {
    const bool alternates = tiled_size<A>(s_.D) * int64_t(sizeof(A)) > kFitsL1;
    const A inverse = A(1 / state_.norm());
    const Expansion<A> e{workspace_, workspace_ + s_.P, workspace_ + 2 * s_.P, x};
    multiply_symmetric(s_.tiles, state_.H, q, e.d);
    e.begin(s_.P, s_.series, inverse, q);
    InterruptCheck check;
    for (int64_t j = 1; j <= s_.series.last; ++j) {
      check(product_ns<A>(s_.D));
      add_symmetric_product(s_.tiles, state_.M, e.w, e.d, alternates && j % 2 == 0);
      e.step(s_.P, s_.series, j);
    }
    multiply_symmetric(s_.tiles, state_.H, e.odd, e.d);
    e.end(s_.P, s_.series, inverse, q, x);
  }

  const Problem<T, A>& s_;
  const State<T, A>& state_;
  A* const workspace_;
};

// ---------------------------------------------------------------- the order of the work

constexpr int64_t kHeadsAtOnce = 64;  // heads whose states are in memory at a time
constexpr double kSegmentNs = 4e6;    // work on one head per call to parallel_for

// Nanoseconds per token: products with M, updates, readout (estimate).
template <class T, class A>
double token_ns(const Problem<T, A>& s) {
  const double half = double(tiled_size<A>(s.D)), P = double(s.P);
  const double products = s.solver == Solver::exact ? P / 6 : double(s.series.last) + 2;
  return (2 * half * (products + 3) + 3 * P * P) * kMultiplyAddNs<A> + 20;
}

// Calls f(slot, head, t0, t1) for the heads [first, first + count) and for segments of time, forwards or backwards. There is at least one
// segment, even if it is empty.
template <class T, class A, class F>
void for_segments(const Problem<T, A>& s, int64_t first, int64_t count, double ns, bool back, F&& f) {
  const int64_t length = s.p.length, step = max(int64_t(kSegmentNs / ns), int64_t(1)),
                segments = max((length + step - 1) / step, int64_t(1));
  for (int64_t i = 0; i < segments; ++i) {
    const int64_t t = (back ? segments - 1 - i : i) * step, end = min(t + step, length);
    parallel_for(count, s.p.threads, double(end - t + 2) * ns, [&](int64_t a, int64_t b) {
      for (int64_t slot = a; slot < b; ++slot) f(slot, first + slot, t, end);
    });
  }
}

// ---------------------------------------------------------------- forward

template <class T>
struct Head {
  static int64_t size(const Problem<T>& s) { return State<T>::size(s) + Ridge<T>::size(s) + 7 * s.P; }

  // Reads q, k, v once; writes y once. The states stay in L1 or L2.
  static void run(const Problem<T>& s, int64_t head, int64_t t0, int64_t t1, T* workspace, double& norm) {
    State<T> state(s, workspace, norm);
    Ridge<T> ridge(s, state, workspace + State<T>::size(s));
    T *const q = workspace + State<T>::size(s) + Ridge<T>::size(s), *const k = q + s.P, *const v = k + s.P, *const x = v + s.P;
    T *const y = x + s.P, *const h = y + s.P, *const m = h + s.P;
    const T scale = T(1) / square_root(T(s.D));
    if (t0 == 0) state.begin(head, h, m);
    const double ns = token_ns(s);
    InterruptCheck check;
    for (int64_t t = t0; t < t1; ++t) {
      check(ns);
      const int64_t i = s.token(head, t);
      load_padded(s.D, s.p.q + i * s.D, q), load_padded(s.D, s.p.k + i * s.D, k), load_padded(s.D, s.p.v + i * s.D, v);
      if (s.keeps_H) state.add_key(s.decay_H(i), k, h, m);
      ridge.prepare();
      ridge.solve(q, x);
      const T alpha = s.alpha(i);
      combine(s.P, scale * alpha, x, scale * (1 - alpha), q, x);  // (2)
      rank_one<true, false>(s.P, RankOne<T>{s.decay_U(i), k, v, x, y, nullptr, nullptr}, state.U);
      store_unpadded(s.D, y, s.p.y + i * s.D);
    }
    if (t1 != s.p.length) return;
    if (s.p.H_T) from_tiles(s.D, state.H, s.square(s.p.H_T, head));
    if (s.p.U_T) store_transposed(s.D, s.P, T(1), state.U, s.square(s.p.U_T, head));
  }
};

template <class T>
void gka(const Gka<T>& p) {
  const Problem<T> s(p, p.H_T != nullptr);
  if (s.heads == 0 || s.D == 0) return;
  const int64_t at_once = min(s.heads, kHeadsAtOnce), size = Head<T>::size(s);
  const Scratch<T> workspace(at_once * size);
  const Scratch<double> norm(at_once);
  for (int64_t first = 0; first < s.heads; first += at_once)
    for_segments(s, first, min(at_once, s.heads - first), token_ns(s), false, [&](int64_t slot, int64_t head, int64_t t0, int64_t t1) {
      Head<T>::run(s, head, t0, t1, workspace + slot * size, norm[slot]);
    });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
