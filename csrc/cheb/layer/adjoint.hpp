// Gradients of the layer with respect to X and W. README (5), (6).
#pragma once
#include "cheb/layer/blocks.hpp"
#include "core/run/partial_sums.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

constexpr int64_t kChunkRows = 32 * kRows;     // minimum rows of one partial sum of dW
constexpr int64_t kMaxParts = 16;              // maximum number of partial sums
constexpr int64_t kMaxPartElements = 4 << 20;  // maximum elements in all partial sums together

template <class T>
int64_t parts_of(const PolyLayer<T>& p) {
  const int64_t size = max<int64_t>(1, p.I * p.K * p.O);
  return max<int64_t>(1, min(min(kMaxParts, kMaxPartElements / size), p.N / kChunkRows));
}

// The buffers of a task, for kRows rows: polynomials and slopes by degree, sums over o in (5), and grad in panels and transposed.
template <class T>
struct AdjointWork {
  Scratch<T> memory;
  T *values, *slopes, *sums, *packed, *transposed;
  AdjointWork(int64_t depth, int64_t O) : memory(kRows * (3 * depth + 2 * O)) {
    values = memory, slopes = values + kRows * depth, sums = slopes + kRows * depth;
    packed = sums + kRows * depth, transposed = packed + kRows * O;
  }
};

// Computes p_k and p_k' of inputs [begin, end) as [input][degree][row].
template <class T>
void fill_degrees(const PolyLayer<T>& p, const Step<T>* steps, int64_t first, int64_t rows, int64_t begin, int64_t end,
                  const AdjointWork<T>& w) {
  using V = Lanes<T>;
  for (int64_t i = begin; i < end; ++i)
    for (int64_t r = 0; r < rows; r += kLanes<T>) {
      const Step<T>* const own = steps + i * p.K;
      Slopes<V> slopes(column<V>(p, first, rows, r, i), own[0]);
      for (int64_t k = 0; k < p.K; ++k) {
        if (k) slopes.advance(own[k]);
        const int64_t at = ((i - begin) * p.K + k) * kRows + r;
        store(w.values + at, slopes.p.at);
        store(w.slopes + at, slopes.at);
      }
    }
}

// Adds dW of inputs [begin, end) to `to` (O elements per degree).
template <class T>
void add_weights(int64_t depth, int64_t rows, int64_t O, const T* grad, const AdjointWork<T>& w, T* to) {
  for_columns<T, Rest::narrower>(O, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    check_interrupt(double(rows * depth * C::count) * kMultiplyAddNs<T>);
    pack_panel<typename C::Vector, C::vectors>(grad + j, O, rows, w.packed);
    tile_column<Left::rows, C::vectors, typename C::Vector>(depth, rows, w.values, kRows, w.packed, C::count, to + j, O, true);
  });
}

// Computes dX of inputs [begin, end) for a range of rows.
template <class T>
void put_points(const PolyLayer<T>& p, int64_t first, int64_t rows, int64_t begin, int64_t end, const T* grad, const AdjointWork<T>& w,
                T* dX) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int64_t o = 0; o < p.O; ++o)
    for (int64_t r = 0; r < kRows; ++r) w.transposed[o * kRows + r] = r < rows ? grad[r * p.O + o] : T(0);
  const int64_t depth = (end - begin) * p.K, block = max<int64_t>(1, block_depth<T>(p.O));
  for_columns<T, Rest::narrower>((rows + W - 1) / W * W, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    for (int64_t o = 0; o < p.O; o += block) {
      const int64_t n = min(block, p.O - o);
      check_interrupt(double(n * depth * C::count) * kMultiplyAddNs<T>);
      tile_column<Left::rows, C::vectors, typename C::Vector>(depth, n, p.W + begin * p.K * p.O + o, p.O, w.transposed + o * kRows + j,
                                                              kRows, w.sums + j, kRows, o > 0);
    }
  });
  for (int64_t i = begin; i < end; ++i)
    for (int64_t r = 0; r < rows; r += W) {
      V sum{};
      for (int64_t at = (i - begin) * p.K * kRows + r, k = 0; k < p.K; ++k, at += kRows)
        sum = multiply_add(load<V>(w.slopes + at), load<V>(w.sums + at), sum);
      for (int64_t l = 0; l < min<int64_t>(W, rows - r); ++l) dX[(first + r + l) * p.I + i] = sum[l];
    }
}

template <class T>
int64_t poly_layer_adjoint(const PolyLayerAdjoint<T>& q) {
  const PolyLayer<T>& p = q.forward;
  const Recurrences<T> recurrences(p);
  if (recurrences.bad >= 0) return recurrences.bad;
  const int64_t all = p.I * p.K, size = all * p.O;
  if (size == 0 || p.N == 0) {
    if (q.dX) set_zero(q.dX, p.N * p.I);
    if (q.dW) set_zero(q.dW, size);
    return -1;
  }
  const int64_t parts = parts_of(p), chunk = ((p.N + parts - 1) / parts + kRows - 1) / kRows * kRows;
  const int64_t together = inputs_together(p), groups = (p.I + together - 1) / together;
  const Step<T>* const steps = recurrences.steps;
  const PartialSums<T> sums(q.dW, 1, parts, size);
  const double ns = double(min(chunk, p.N) * together * p.K) * (2 * double(p.O) * kMultiplyAddNs<T> + 2 * kStepNs / kLanes<T>);
  parallel_for(parts * groups, p.threads, ns, [&](int64_t task, int64_t last) {
    const AdjointWork<T> w(together * p.K, p.O);
    for (; task < last; ++task) {
      const int64_t part = task / groups, begin = task % groups * together, end = min(begin + together, p.I);
      T* const own = sums ? sums.part(part) + begin * p.K * p.O : nullptr;
      if (own) set_zero(own, (end - begin) * p.K * p.O);
      for (int64_t first = part * chunk; first < min(p.N, (part + 1) * chunk); first += kRows) {
        const int64_t rows = min(kRows, p.N - first);
        const T* const grad = q.grad + first * p.O;
        fill_degrees(p, steps, first, rows, begin, end, w);
        if (own) add_weights((end - begin) * p.K, rows, p.O, grad, w, own);
        if (q.dX) put_points(p, first, rows, begin, end, grad, w, q.dX);
      }
    }
  });
  sums.add_up(p.threads);
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
