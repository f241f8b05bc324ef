// The decays of a chunk, one per token, and their gradient.
#pragma once
#include "core/lanes/elementary.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

// Computes the decays (4): from token j to token i in row i of `decays`, up to the end of the vector that contains i; from before the chunk
// to each token in `from_start`; and from each token to the last one in `to_end`. `of_token` has n logarithms, then zeros up to `rows`,
// which is a multiple of the vector length and at most N. Products are in double precision, because a difference of sums of logarithms
// would be NaN after a decay to 0.
template <int64_t N, class T>
void head_decays(int64_t n, int64_t rows, double* of_token, T* decays, int64_t stride, T* from_start, T* to_end) {
  using D = Lanes<double>;
  constexpr int64_t W = kLanes<double>, together = kLanes<T> / W;
  D products[N / W] = {};
  double product = 1;
  for (int64_t b = 0; b < rows / W; ++b) {
    store(of_token + b * W, elementary::exp(load<D>(of_token + b * W)));
    for (int64_t i = b * W; i < (b + 1) * W; ++i) {
      for (int64_t c = 0; c <= b; ++c) products[c] *= of_token[i];
      products[b] = keep_first(products[b], i - b * W), products[b][i - b * W] = 1;
      for (int64_t c = 0; c < round_up(b + 1, together); ++c) store_as(decays + i * stride + c * W, i < n ? products[c] : D{});
      product *= of_token[i];
      from_start[i] = i < n ? T(product) : T(0);
    }
  }
  for (int64_t j = 0; j < rows; ++j) to_end[j] = j < n ? decays[(n - 1) * stride + j] : T(0);
}

// (17) For each of up to N tokens of a chunk, the sum of the terms that contain its decay. Nothing is subtracted, so nothing cancels.
template <int64_t N>
struct DecayGradient {
  double across[N], columns[N];  // the sums over pairs j < t <= i, and over the rows so far of one matrix of pairs
  void clear() {
    for (double& x : across) x = 0;
  }
  void begin_matrix() {
    for (double& x : columns) x = 0;
  }
  // Adds row i of the terms of pairs, dm times m. Rows must be added from the last one up, so that the columns before i belong to pairs
  // across token i.
  template <class T>
  void add_row(int64_t i, const T* dm, const T* m) {
    using V = Lanes<double>;
    V total{};
    for (int64_t j = 0; j < i; j += kLanes<double>) {
      const V column = keep_first(V(load<V>(columns + j) + load_as<V>(dm + j) * load_as<V>(m + j)), i - j);
      quatrefoil::store(columns + j, column);
      total += column;
    }
    across[i] += sum(total);
  }
  // `read`: the terms of each token that reads the state before the chunk; `written`: those of each token that writes to the state after
  // it; `through`: the term that passes from one to the other.
  template <class T>
  void store(int64_t n, const T* read, const T* written, double through, T* to, int64_t stride) {
    double later = 0;
    for (int64_t i = n - 1; i >= 0; --i) across[i] += later += double(read[i]);
    for (int64_t i = 0; i < n; ++i) to[i * stride] = T(across[i] + through), through += double(written[i]);
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
