// Rank-one updates of a dense square matrix of padded size, and products with the new matrix in the same pass.
#pragma once
#include "core/lanes/lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// A <- e A + left right^T; then optionally sums = A^T weights and dots = A probe.
template <class T>
struct RankOne {
  T e;
  const T *left, *right;
  const T* weights;
  T* sums;
  const T* probe;
  T* dots;
};

// Processes NV vectors of columns, W rows at a time.
template <int NV, bool with_sums, bool with_dots, class T>
void rank_one_columns(int64_t P, const RankOne<T>& u, int64_t column, T* A) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const V e = broadcast<V>(u.e);
  V right[NV], probe[NV], sums[NV];
#pragma GCC unroll 4
  for (int c = 0; c < NV; ++c) {
    right[c] = load<V>(u.right + column + c * W);
    if (with_dots) probe[c] = load<V>(u.probe + column + c * W);
    sums[c] = V{};
  }
  for (int64_t j = 0; j < P; j += W) {
    V dots[W];
#pragma GCC unroll 16
    for (int r = 0; r < W; ++r) {
      T* const row = A + (j + r) * P + column;
      const V left = broadcast<V>(u.left[j + r]);
      V weight{}, dot{};
      if (with_sums) weight = broadcast<V>(u.weights[j + r]);
#pragma GCC unroll 4
      for (int c = 0; c < NV; ++c) {
        const V x = keep(multiply_add(e, load<V>(row + c * W), V(left * right[c])));
        store(row + c * W, x);
        if (with_sums) sums[c] = multiply_add(weight, x, sums[c]);
        if (with_dots) dot = multiply_add(x, probe[c], dot);
      }
      dots[r] = dot;
    }
    if (with_dots) store(u.dots + j, V(load<V>(u.dots + j) + sum_each(dots)));
  }
  if (with_sums)
    for (int c = 0; c < NV; ++c) store(u.sums + column + c * W, sums[c]);
}

// Reads and writes A once.
template <bool with_sums, bool with_dots, class T>
void rank_one(int64_t P, const RankOne<T>& u, T* A) {
  constexpr int W = kLanes<T>;
  if (with_dots) set_zero(u.dots, P);
  int64_t column = 0;
  for (; column + 4 * W <= P; column += 4 * W) rank_one_columns<4, with_sums, with_dots>(P, u, column, A);
  for (; column < P; column += W) rank_one_columns<1, with_sums, with_dots>(P, u, column, A);
}

// A = the transpose of a D x D array, or 0 if that is absent. store_transposed does the reverse, times e.
template <class T, class E>
void load_transposed(int64_t D, int64_t P, const T* dense, E* A) {
  set_zero(A, P * P);
  for (int64_t i = 0; dense && i < D; ++i)
    for (int64_t j = 0; j < D; ++j) A[j * P + i] = E(dense[i * D + j]);
}
template <class T, class E>
void store_transposed(int64_t D, int64_t P, E e, const E* A, T* dense) {
  for (int64_t i = 0; i < D; ++i)
    for (int64_t j = 0; j < D; ++j) dense[i * D + j] = T(e * A[j * P + i]);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
