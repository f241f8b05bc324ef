// The last layers of a transform, on W x W numbers in registers, and the resulting spectrum: polynomials of a few numbers modulo
// x^size - c, one per lane.
#pragma once
#include "core/fft/layers.hpp"
#include "core/lanes/shuffles.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

constexpr int log2_of(int64_t n) { return n <= 1 ? 0 : 1 + log2_of(n / 2); }
template <class T>
constexpr int kLaneLayers = log2_of(kLanes<T>);

// Steps m, 2 m, ... (less than `below`) of the transposition of the rows z[0], z[stride], ...
template <int m, int below, class V>
QF_HD void exchange_rows(cplx<V>* z, int stride) {
  if constexpr (m < below) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth<V>>{};
    const int step = m / stride;  // in rows of z
#pragma GCC unroll 4
    for (int i = 0; i < below / stride; ++i)
      if (!(i & step)) {
        exchange<m>(z[i * stride].re, z[(i + step) * stride].re, lanes);
        exchange<m>(z[i * stride].im, z[(i + step) * stride].im, lanes);
      }
    exchange_rows<2 * m, below>(z, stride);
  }
}

// The size of the blocks of a spectrum: polynomials modulo x^size - c, one per lane.
template <class T>
constexpr int kBlock = min(kLanes<T>, 4);

// W blocks, one per lane.
template <class T>
struct Block {
  using V = Lanes<T>;
  static constexpr int size = kBlock<T>;
  cplx<V> z[size];
  Block() = default;
  QF_HD Block(const T* re, const T* im) {
#pragma GCC unroll 4
    for (int i = 0; i < size; ++i) z[i] = load_complex<V>(re + i * kWidth<V>, im + i * kWidth<V>);
  }
  QF_HD void put(cplx<V>* to) const {
#pragma GCC unroll 4
    for (int i = 0; i < size; ++i) to[i] = z[i];
  }
  QF_HD void store(T* re, T* im) const {
#pragma GCC unroll 4
    for (int i = 0; i < size; ++i) store_complex(re + i * kWidth<V>, im + i * kWidth<V>, z[i]);
  }
};

template <class V>
QF_HD cplx<V> multiply_conj_add(cplx<V> a, cplx<V> b, cplx<V> c) {
  return {multiply_add(a.re, b.re, multiply_add(a.im, b.im, c.re)), multiply_add(a.im, b.re, multiply_add(V(-a.re), b.im, c.im))};
}
// a b: sums the wrapped terms first, then multiplies them by c.
template <class T>
QF_HD Block<T> product(const cplx<Lanes<T>>* a, const cplx<Lanes<T>>* b, cplx<Lanes<T>> c) {
  constexpr int size = kBlock<T>;
  Block<T> y;
#pragma GCC unroll 4
  for (int j = 0; j < size; ++j) {
    y.z[j] = a[0] * b[j];
    if (j + 1 < size) {
      auto wrapped = a[j + 1] * b[size - 1];
#pragma GCC unroll 4
      for (int i = j + 2; i < size; ++i) wrapped = multiply_add(a[i], b[j - i + size], wrapped);
      y.z[j] = multiply_add(wrapped, c, y.z[j]);
    }
#pragma GCC unroll 4
    for (int i = 1; i <= j; ++i) y.z[j] = multiply_add(a[i], b[j - i], y.z[j]);
  }
  return y;
}
// a(x) conj(b)(1/x) on the unit circle, where 1/x is conj(c) x^(size - 1).
template <class T>
QF_HD Block<T> correlation(const cplx<Lanes<T>>* a, const cplx<Lanes<T>>* b, cplx<Lanes<T>> c) {
  constexpr int size = kBlock<T>;
  Block<T> y;
#pragma GCC unroll 4
  for (int j = 0; j < size; ++j) {
    y.z[j] = multiply_conj(a[j], b[0]);
    if (j > 0) {
      auto wrapped = multiply_conj(a[0], b[size - j]);
#pragma GCC unroll 4
      for (int i = 1; i < j; ++i) wrapped = multiply_conj_add(a[i], b[i - j + size], wrapped);
      y.z[j] = multiply_conj_add(wrapped, c, y.z[j]);
    }
#pragma GCC unroll 4
    for (int i = j + 1; i < size; ++i) y.z[j] = multiply_conj_add(a[i], b[i - j], y.z[j]);
  }
  return y;
}
template <class T>
QF_HD Block<T> operator+(Block<T> a, const Block<T>& b) {
#pragma GCC unroll 4
  for (int i = 0; i < kBlock<T>; ++i) a.z[i] = a.z[i] + b.z[i];
  return a;
}

// Roots per lane in a leaf: those of its layers, then c of each block.
template <class T>
constexpr int kLeafLayers = kLaneLayers<T> - log2_of(kBlock<T>);
template <class T>
constexpr int kOfLanes = roots_of(kLeafLayers<T>) + (1 << kLeafLayers<T>);

// Transforms blocks of 2^layers W numbers: `forth` to blocks of kBlock, `back` from them, or both, with z <- f(i, z, c) in between for each
// block z, which begins at element i. `of_blocks` and `of_lanes` are the roots per block and per lane. Works on a few rows at a time, so
// that shuffles and sums, which use different execution ports, alternate.
template <bool forth, bool back, int layers, class T, class F>
QF_HD void leaf(const T* re, const T* im, T* to_re, T* to_im, const T* of_blocks, const T* of_lanes, const F& f) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, rows = kBlock<T>, lane_layers = kLeafLayers<T>;
  constexpr int size = 1 << layers, part = 1 << lower_layers(layers);  // rows of a block, and of its parts below the upper layers
  const Roots<V, false> lanes{of_lanes};
  const auto blocks = [&](int i) { return Roots<V, true>{of_blocks}.after(i / size * roots_of(layers)); };
  const auto parts = [&](int i) { return below<layers>(blocks(i), i % size / part); };
  cplx<V> z[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) z[i] = load_complex<V>(re + i * W, im + i * W);
  if constexpr (forth) {
#pragma GCC unroll 2
    for (int b = 0; b < W; b += size)
#pragma GCC unroll 4
      for (int j = 0; j < part; ++j) split<upper_layers(layers)>(z + b + j, part, blocks(b));
#pragma GCC unroll 4
    for (int g = 0; g < W; g += rows) {
#pragma GCC unroll 4
      for (int i = g; i < g + rows; i += part) split<lower_layers(layers)>(z + i, 1, parts(i));
      exchange_rows<1, rows>(z + g, 1);
    }
#pragma GCC unroll 4
    for (int j = 0; j < rows; ++j) {
      exchange_rows<rows, W>(z + j, rows);
      split<lane_layers>(z + j, rows, lanes);
    }
  }
  if constexpr (forth && back)
#pragma GCC unroll 4
    for (int g = 0; g < W; g += rows) f(g * W, z + g, lanes[roots_of(lane_layers) + g / rows]);
  if constexpr (back) {
#pragma GCC unroll 4
    for (int j = 0; j < rows; ++j) {
      merge<lane_layers>(z + j, rows, lanes);
      exchange_rows<rows, W>(z + j, rows);
    }
#pragma GCC unroll 4
    for (int g = 0; g < W; g += rows) {
      exchange_rows<1, rows>(z + g, 1);
#pragma GCC unroll 4
      for (int i = g; i < g + rows; i += part) merge<lower_layers(layers)>(z + i, 1, parts(i));
    }
#pragma GCC unroll 2
    for (int b = 0; b < W; b += size)
#pragma GCC unroll 4
      for (int j = 0; j < part; ++j) merge<upper_layers(layers)>(z + b + j, part, blocks(b));
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store_complex(to_re + i * W, to_im + i * W, z[i]);
}

}  // namespace fft
}  // namespace QF_ISA
}  // namespace quatrefoil
