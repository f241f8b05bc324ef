// Values of the layer. README (4).
#pragma once
#include "cheb/layer/blocks.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

// Packs W (I K x O) in columns of tiles.
template <class T>
void pack_weights(const PolyLayer<T>& p, T* to) {
  for_columns<T, Rest::narrower>(p.O, [&](auto columns, int64_t j) {
    check_interrupt(double(p.I * p.K));
    pack_panel<typename decltype(columns)::Vector, columns.vectors>(p.W + j, p.O, p.I * p.K, to);
    to += p.I * p.K * columns.count;
  });
}

// Computes the polynomials of inputs [begin, end) for a range of rows, as [block of kTileRows rows][input][degree][row].
template <class T>
void fill_panels(const PolyLayer<T>& p, const Step<T>* steps, int64_t first, int64_t rows, int64_t begin, int64_t end, T* panels) {
  using V = Lanes<T, kTileRows>;
  for (int64_t r = 0; r < rows; r += kTileRows)
    for (int64_t i = begin; i < end; ++i) {
      const Step<T>* const own = steps + i * p.K;
      Values<V> values(column<V>(p, first, rows, r, i), own[0]);
      for (int64_t k = 0; k < p.K; ++k) {
        if (k) values.advance(own[k]);
        store(panels, values.at);
        panels += kTileRows;
      }
    }
}

// Computes rows [first, first + rows) of Y. Reads the packed weights once, from L2 if they fit.
template <class T>
void multiply_rows(const PolyLayer<T>& p, const Step<T>* steps, const T* packed, int64_t first, int64_t rows, T* panels) {
  const int64_t together = inputs_together(p), all = p.I * p.K;
  for (int64_t begin = 0; begin < p.I; begin += together) {
    const int64_t end = min(begin + together, p.I), n = (end - begin) * p.K;
    fill_panels(p, steps, first, rows, begin, end, panels);
    for_columns<T, Rest::narrower>(p.O, [&](auto columns, int64_t j) {
      using C = decltype(columns);
      check_interrupt(double(rows * n * C::count) * kMultiplyAddNs<T>);
      const T* const weights = packed + all * j + begin * p.K * C::count;
      for_panels(rows, [&](auto some, int64_t r) __attribute__((always_inline)) {
        const int64_t within = r % kTileRows;
        tile<Left::columns, some.value, C::vectors, typename C::Vector>(n, panels + (r - within) * n + within, kTileRows, weights, C::count,
                                                                        p.Y + (first + r) * p.O + j, p.O, begin > 0);
      });
    });
  }
}

template <class T>
int64_t poly_layer(const PolyLayer<T>& p) {
  const Recurrences<T> recurrences(p);
  if (recurrences.bad >= 0) return recurrences.bad;
  const int64_t all = p.I * p.K;
  if (all == 0) set_zero(p.Y, p.N * p.O);
  if (all == 0 || p.N == 0 || p.O == 0) return -1;
  const Step<T>* const steps = recurrences.steps;
  Scratch<T> packed(all * p.O);
  T* const weights = packed;
  pack_weights(p, weights);
  const double ns = double(kRows * all) * (double(p.O) * kMultiplyAddNs<T> + kStepNs / kTileRows);
  parallel_for((p.N + kRows - 1) / kRows, p.threads, ns, [&](int64_t block, int64_t last) {
    Scratch<T> panels(kRows * inputs_together(p) * p.K);
    for (; block < last; ++block) multiply_rows<T>(p, steps, weights, block * kRows, min(kRows, p.N - block * kRows), panels);
  });
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
