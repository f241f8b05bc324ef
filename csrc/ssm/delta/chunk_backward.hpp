// The backward pass of one chunk, (12)-(18). Gradients of queries and keys are computed as columns, dq^T and dk^T. The right-hand matrices
// are then transposes of the chunk's, and states are read row by row without copying. All sums are accumulated in registers.
#pragma once
#include "ssm/delta/chunk_forward.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

template <class T>
struct ChunkBackward {
  Matrix<T> w, x, y, z;                   // (11), (12), (13); y is null without the delta rule
  Matrix<T> dv;                           // receives a copy of z; may be null
  Matrix<T> state, dstate;                // S before the chunk; R after the chunk, replaced by R before it
  Matrix<T> q_from_start, k_from_start;   // c_i q_i, -c_i k_i: the products of (18)
  Matrix<T> wt, xt, zt, qt;               // transposes
  Matrix<T> dreads, dreads_t, dcorrects;  // (15) times decays; the last one with its transpose added
  Matrix<T> dqt, dkt;                     // (16)
  Matrix<const T> known;                  // (25); null except for rank two
  Matrix<T> dknown;                       // its gradient
  Matrix<T> det, dkt_known;               // with a decay per channel, dqt, dkt and these are products with states
  T* both;                                // <R, S> for each row of the states
};

// (25) The gradient of the known values for the columns of a tile, after z.
template <int NV, class V, class T>
void known_columns(const Chunk<T>& chunk, const ChunkBackward<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  const Matrix<T> keys = chunk.known_written, reads = chunk.known_reads, corrects = chunk.known_corrects;
  for (int64_t i = 0; i < chunk.rows; i += R) {
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), keys[i], keys.stride, a.dstate.at + j, a.dstate.stride, sum);
    add_products<Left::columns>(chunk.rows - i, reads[i] + i, reads.stride, a.w[i] + j, a.w.stride, sum);
    add_products<Left::columns>(chunk.rows - i, corrects[i] + i, corrects.stride, a.z[i] + j, a.z.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) store(a.dknown[i + r] + j + v * W, sum[r][v]);
  }
}

// (12)-(14) for the columns of a tile, starting at column j, from the last row up.
template <int NV, class V, class T>
void solve_back_columns(const Chunk<T>& chunk, const ChunkBackward<T>& a, int64_t j) {
  constexpr int R = kTileRows, W = kWidth<V>;
  const bool corrects = chunk.s.p.corrects;
  for (int64_t i = chunk.rows - R; i >= 0; i -= R) {
    const int64_t below = i + R, count = chunk.rows - below;
    for (int r = 0; a.dv.at && r < R; ++r) fetch<true>(a.dv[i + r] + j, NV * W);
    V sum[R][NV];
    clear(sum);
    add_products<Left::rows>(chunk.s.key_columns(), chunk.writing[i], chunk.writing.stride, a.dstate.at + j, a.dstate.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) sum[r][v] *= broadcast<V>(chunk.write_weight[i + r]);
    add_products<Left::columns>(count, chunk.reads[below] + i, chunk.reads.stride, a.w[below] + j, a.w.stride, sum);
    if (corrects) add_products<Left::columns>(count, chunk.corrects[below] + i, chunk.corrects.stride, a.z[below] + j, a.z.stride, sum);
#pragma GCC unroll 8
    for (int r = R - 1; r >= 0; --r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        const V w = load<V>(a.w[i + r] + j + v * W);
#pragma GCC unroll 8
        for (int q = 0; q <= r; ++q) sum[q][v] = multiply_add(broadcast<V>(chunk.reads[i + r][i + q]), w, sum[q][v]);
      }
#pragma GCC unroll 8
    for (int r = R - 1; r >= 0; --r)
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        V z = sum[r][v];
        if (corrects) {
          store(a.y[i + r] + j + v * W, z);
          z *= broadcast<V>(chunk.beta[i + r]);
#pragma GCC unroll 8
          for (int q = 0; q < r; ++q) sum[q][v] = multiply_add(broadcast<V>(chunk.corrects[i + r][i + q]), z, sum[q][v]);
        }
        store(a.z[i + r] + j + v * W, z);
        if (a.dv.at) store(a.dv[i + r] + j + v * W, z);
      }
  }
}

// (18) for the columns of a tile. Returns their contribution to <R, S>; with a decay per channel, adds it to `both` instead.
template <int NV, class V, class T>
double leave_columns(const Chunk<T>& chunk, const ChunkBackward<T>& a, int64_t j, NextRows<T>& next) {
  constexpr int W = kWidth<V>;
  double both = 0;
  for_panels<kLanes<T>>(chunk.s.key_columns(), [&](auto rows, int64_t i) __attribute__((always_inline)) {
    next.step();
    for (int r = 0; r < rows.value; ++r) fetch(a.state[i + r] + j, NV * W);
    V sum[rows.value][NV], product{};
    clear(sum);
    const bool channels = chunk.s.p.channels;
    add_products<Left::columns>(chunk.rows, a.q_from_start.at + i, a.q_from_start.stride, a.w.at + j, a.w.stride, sum);
    if (chunk.s.p.corrects)
      add_products<Left::columns>(chunk.rows, a.k_from_start.at + i, a.k_from_start.stride, a.z.at + j, a.z.stride, sum);
#pragma GCC unroll 8
    for (int r = 0; r < rows.value; ++r) {
      const V total = broadcast<V>(chunk.total[i + r]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
        T* const at = a.dstate[i + r] + j + v * W;
        const V after = load<V>(at);
        product = multiply_add(after, load<V>(a.state[i + r] + j + v * W), product);
        store(at, multiply_add(total, after, sum[r][v]));
      }
      if (channels) a.both[i + r] += quatrefoil::sum(product), product = V{};
    }
    if (!channels) both += double(quatrefoil::sum(product));
  });
  return both;
}

// sum (rows x NV vectors) += a b for square diagonal blocks of b, in which only vectors on and above the diagonal (or on and below it) are
// nonzero.
template <bool above, int rows, int NV, class V>
QF_HD void add_triangle(const Element<V>* a, int64_t a_stride, const Element<V>* b, int64_t b_stride, V (&sum)[rows][NV]) {
  constexpr int W = kWidth<V>;
#pragma GCC unroll 3
  for (int block = 0; block < NV; ++block)
    for (int64_t k = block * W; k < (block + 1) * W; ++k)
#pragma GCC unroll 3
      for (int v = above ? block : 0; v < (above ? NV : block + 1); ++v) {
        const V x = load<V>(b + k * b_stride + v * W);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) sum[i][v] = multiply_add(broadcast<V>(a[i * a_stride + k]), x, sum[i][v]);
      }
}

// to (K x rows) = state times transposed (V x rows).
template <class T>
void state_products(const Chunk<T>& chunk, Matrix<T> state, Matrix<T> transposed, Matrix<T> to) {
  multiply(chunk.s.key_columns(), chunk.s.value_columns(), state.at, state.stride, transposed.at, transposed.stride, chunk.rows, to.at,
           to.stride);
}

// dots[i] += column i of a product with a state, times its factor, dotted with column i of `with`.
template <int rows, int NV, class V, class T>
QF_HD void scale_columns(const T* factor, Element<V> sign, const T* with, int64_t stride, V (&sum)[rows][NV], V (&dots)[NV]) {
  constexpr int W = kWidth<V>;
#pragma GCC unroll 3
  for (int v = 0; v < NV; ++v) {
    const V by = sign * load<V>(factor + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      sum[r][v] *= by;
      dots[v] = multiply_add(sum[r][v], load<V>(with + r * stride + v * W), dots[v]);
    }
  }
}
template <int rows, int NV, class V, class T>
QF_HD void store_rows(const V (&sum)[rows][NV], T* to, int64_t stride) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store(to + r * stride + v * kWidth<V>, sum[r][v]);
}

// (16) The terms from writing to the state after the chunk: dk^T <- d_i (R x_i), and written[i] = d_i k_i.(R x_i).
template <class T>
void key_gradients_of_state(const Chunk<T>& chunk, const ChunkBackward<T>& a, T* written) {
  for_columns<T, Rest::skipped>(chunk.rows, [&](auto columns, int64_t j) {
    using V = typename decltype(columns)::Vector;
    constexpr int NV = columns.vectors;
    V dots[NV] = {};
    for_panels<kLanes<T>>(chunk.s.key_columns(), [&](auto rows, int64_t i) __attribute__((always_inline)) {
      V sum[rows.value][NV];
      clear(sum);
      add_products<Left::rows>(chunk.s.value_columns(), a.dstate[i], a.dstate.stride, a.xt.at + j, a.xt.stride, sum);
      scale_columns(chunk.to_end + j, T(1), chunk.transposed[i] + j, chunk.transposed.stride, sum, dots);
      store_rows(sum, a.dkt[i] + j, a.dkt.stride);
    });
    for (int v = 0; v < NV; ++v) store(written + j + v * kWidth<V>, dots[v]);
  });
}

// (16) The terms from reading the state before the chunk, and from pairs of tokens; read[i] = c_i (q_i.(S w_i) - k_i.(S z_i)).
template <class T>
void queries_and_keys(const Chunk<T>& chunk, const ChunkBackward<T>& a, T* read) {
  const int64_t K = chunk.s.key_columns(), columns_of_state = chunk.s.value_columns();
  const Matrix<T> kt = chunk.transposed;
  for_columns<T, Rest::skipped>(chunk.rows, [&](auto columns, int64_t j) {
    using V = typename decltype(columns)::Vector;
    constexpr int NV = columns.vectors;
    const int64_t end = j + columns.count;
    V dots[NV] = {};
    for_panels<kLanes<T>>(K, [&](auto rows, int64_t i) __attribute__((always_inline)) {
      V sum[rows.value][NV];
      clear(sum);
      add_products<Left::rows>(columns_of_state, a.state[i], a.state.stride, a.wt.at + j, a.wt.stride, sum);
      scale_columns(chunk.from_start + j, T(1), a.qt[i] + j, a.qt.stride, sum, dots);
      add_products<Left::rows>(j, kt[i], kt.stride, a.dreads_t.at + j, a.dreads_t.stride, sum);
      add_triangle<true>(kt[i] + j, kt.stride, a.dreads_t[j] + j, a.dreads_t.stride, sum);
      store_rows(sum, a.dqt[i] + j, a.dqt.stride);

      clear(sum);
      if (chunk.s.p.corrects) {
        add_products<Left::rows>(columns_of_state, a.state[i], a.state.stride, a.zt.at + j, a.zt.stride, sum);
        scale_columns(chunk.from_start + j, T(-1), kt[i] + j, kt.stride, sum, dots);
        add_products<Left::rows>(chunk.rows, kt[i], kt.stride, a.dcorrects.at + j, a.dcorrects.stride, sum);
      }
      add_triangle<false>(a.qt[i] + j, a.qt.stride, a.dreads[j] + j, a.dreads.stride, sum);
      add_products<Left::rows>(chunk.rows - end, a.qt[i] + end, a.qt.stride, a.dreads[end] + j, a.dreads.stride, sum);
#pragma GCC unroll 8
      for (int r = 0; r < rows.value; ++r)
#pragma GCC unroll 3
        for (int v = 0; v < NV; ++v) sum[r][v] += load<V>(a.dkt[i + r] + j + v * kWidth<V>);
      store_rows(sum, a.dkt[i] + j, a.dkt.stride);
    });
    for (int v = 0; v < NV; ++v) store(read + j + v * kWidth<V>, dots[v]);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
