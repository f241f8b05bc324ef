// The ridge regressions of the gradient, README (18): float64, except the late terms of the series, which have the arrays' type.
#pragma once
#include "ssm/kalmanet/recurrence.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// T is the type of the arrays and of the late terms, A that of the states and of the results.
template <class T, class A>
class MixedRidge {
 public:
  static int64_t size(const Problem<T, A>& s) { return Ridge<T, A>::size(s); }
  static int64_t narrow_size(const Problem<T, A>& s) { return narrows(s) ? 2 * tiled_size<T>(s.D) + 6 * padded<T>(s.D) : 0; }

  MixedRidge(const Problem<T, A>& s, const State<T, A>& state, A* workspace, T* narrow_workspace)
      : s_(s),
        state_(state),
        whole_(s, state, workspace),
        workspace_(workspace),
        H_(narrow_workspace),
        M_(H_ + tiled_size<T>(s.D)),
        P_(padded<T>(s.D)) {
    T* next = M_ + tiled_size<T>(s.D);
    for (T** vector : {&k_, &m_, &w_, &d_, &odd_, &even_}) *vector = next, next += P_;
  }

  // Copies the initial states into H and M of type T. Entries beyond D stay 0.
  void begin() {
    set_zero(H_, narrow_size(s_));
    if (!narrows(s_)) return;
    for (int64_t i = 0; i < s_.D; ++i)
      for (int64_t j = 0; j < min(s_.D, padded<T>(i + 1)); ++j) {
        const bool below = i / kLanes<A> >= j / kLanes<A>;
        entry(H_, i, j) = T(below ? entry(state_.H, i, j) : entry(state_.H, j, i));
        entry(M_, i, j) = T(below ? entry(state_.M, i, j) : entry(state_.M, j, i));
      }
  }

  // Call this after State::add_key, with its result and its m.
  void add_key(const KeyUpdate<A>& u, const A* k, const A* m) {
    whole_.prepare();
    if (!narrows(s_)) return;
    store_unpadded(s_.P, k, k_), store_unpadded(s_.P, m, m_);
    update_squares<true>(tiles(), KeyUpdate<T>{T(u.e), T(u.a), T(u.b), 0, 0, u.norm}, k_, m_, H_, M_);
  }

  // x ~ (H + lambda I)^-1 q at token t. Uses A throughout while H has fewer keys than dimensions, because rounding errors are amplified
  // most in directions without a key.
  void solve(int64_t t, const A* q, A* x) const { narrows(s_) && t >= s_.D && !state_.zero() ? chebyshev(q, x) : whole_.solve(q, x); }

 private:
  static constexpr int64_t kNear = 3;  // degrees whose products with M use A (19)

  // Whether part of the work uses T. Below D = 32 that is slower, because converting vectors costs more than the products save.
  static bool narrows(const Problem<T, A>& s) {
    return sizeof(T) < sizeof(A) && s.solver == Solver::chebyshev && s.series.last > kNear && s.D >= 32;
  }
  int64_t tiles() const { return tiles_across<T>(s_.D); }

  // (18). Reads H once and M kNear times. Of the copies in T, reads M once per later degree and H once.
  void chebyshev(const A* q, A* x) const {
    const A inverse = A(1 / state_.norm());
    const int64_t P = s_.P;
    const Expansion<A> first{workspace_, workspace_ + P, workspace_ + 2 * P, x};
    const Expansion<T> rest{w_, d_, odd_, even_};
    const bool alternates = tiled_size<T>(s_.D) * int64_t(sizeof(T)) > kFitsL1;
    multiply_symmetric(s_.tiles, state_.H, q, first.d);
    first.begin(P, s_.series, inverse, q);
    for (int64_t j = 1; j <= kNear; ++j) {
      add_symmetric_product(s_.tiles, state_.M, first.w, first.d);
      first.step(P, s_.series, j);
    }
    store_unpadded(P, first.w, w_), store_unpadded(P, first.d, d_);
    set_zero(odd_, P_), set_zero(even_, P_);
    InterruptCheck check;
    for (int64_t j = kNear + 1; j <= s_.series.last; ++j) {
      check(product_ns<T>(s_.D));
      add_symmetric_product(tiles(), M_, w_, d_, alternates && j % 2 == 0);
      rest.step(P_, s_.series, j);
    }
    add(even_, first.even), add(odd_, first.odd);
    store_unpadded(P, first.odd, odd_);
    multiply_symmetric(tiles(), H_, odd_, d_);
    load_padded(P, d_, first.d);
    first.end(P, s_.series, inverse, q, x);
  }
  void add(const T* from, A* to) const {
    using V = Lanes<A>;
    constexpr int W = kLanes<A>;
    for (int64_t i = 0; i < s_.P; i += W) store(to + i, V(load<V>(to + i) + converted<A>(load<Lanes<T, W>>(from + i))));
  }

  const Problem<T, A>& s_;
  const State<T, A>& state_;
  Ridge<T, A> whole_;  // the solver that uses A throughout
  A* const workspace_;
  T *const H_, *const M_;
  const int64_t P_;  // padded length in T
  T *k_, *m_, *w_, *d_, *odd_, *even_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
