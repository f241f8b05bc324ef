// W channels in lanes, one vector per time step. Loads and stores support any strides. States are V or cplx<V>.
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "ssm/selective/args.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

// One element per channel, `stride` apart. Lanes without a channel are 0, so that they add nothing to sums over channels.
template <class S, class E>
S gather(const E* p, int64_t stride, int rows) {
  S s{};
  if (p)
    for (int i = 0; i < rows; ++i) set_lane(s, i, p[i * stride]);
  return s;
}
template <class S, class E>
void scatter(E* p, int64_t stride, int rows, S s) {
  for (int i = 0; i < rows; ++i) p[i * stride] = lane(s, i);
}

constexpr int kBurst = 4;  // vectors of one row moved at once; rows a power of two apart would otherwise evict each other from a cache set

// Loads `steps` time steps of `rows` channels. If time is contiguous, squares of W x W elements are transposed in registers. Arrays of
// lanes have room for whole squares: elements beyond `steps` are moved but never used.
template <class V, class T>
void load_steps(const T* x, int64_t channel, int64_t time, int rows, int64_t steps, V* to) {
  constexpr int W = kWidth<V>;
  if (time == 1 && steps > 1) {
    V square[kBurst][W];
    for (int64_t t = 0; t < steps; t += kBurst * W) {
      const int64_t left = steps - t, squares = min<int64_t>(kBurst, (left + W - 1) / W);
      for (int i = 0; i < W; ++i) {
        const T* row = x + i * channel + t;
        if (i >= rows) {
          for (int k = 0; k < kBurst; ++k) square[k][i] = V{};
        } else if (left >= kBurst * W) {
          for (int k = 0; k < kBurst; ++k) square[k][i] = load<V>(row + k * W);
        } else {
          for (int64_t k = 0; k < squares; ++k) square[k][i] = load_first<V>(row + k * W, left - k * W);
        }
      }
      for (int64_t k = 0; k < squares; ++k) {
        transpose(square[k]);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) to[t + k * W + i] = square[k][i];
      }
    }
  } else if (channel == 1) {
    for (int64_t t = 0; t < steps; ++t) to[t] = load_first<V>(x + t * time, rows);
  } else {
    for (int64_t t = 0; t < steps; ++t) to[t] = gather<V>(x + t * time, channel, rows);
  }
}
// Prefetches the steps of some channels, contiguous in time, that will be loaded soon. The hardware prefetcher does not follow rows this
// far apart.
template <class T>
void fetch_steps(const T* x, int64_t channel, int begin, int end, int64_t steps) {
  for (int i = begin; i < end; ++i) fetch(x + i * channel, steps);
}
template <class V, class T>
void store_steps(T* y, int64_t channel, int rows, int64_t steps, const V* from) {  // time is contiguous
  constexpr int W = kWidth<V>;
  V square[kBurst][W];
  for (int64_t t = 0; t < steps; t += kBurst * W) {
    const int64_t left = steps - t, squares = min<int64_t>(kBurst, (left + W - 1) / W);
    for (int64_t k = 0; k < squares; ++k) {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) square[k][i] = from[t + k * W + i];
      transpose(square[k]);
    }
    for (int i = 0; i < rows; ++i) {
      T* row = y + i * channel + t;
      if (left >= kBurst * W) {
        for (int k = 0; k < kBurst; ++k) store(row + k * W, square[k][i]);
      } else {
        for (int64_t k = 0; k < squares; ++k) store_first(row + k * W, square[k][i], left - k * W);
      }
    }
  }
}

// y[t] += the sum over channels of v[t], always in the order of the lanes.
template <class V, class T>
void add_channels(T* y, int64_t steps, const V* v) {
  constexpr int W = kWidth<V>;
  for (int64_t t = 0; t < steps; t += W) {
    V square[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) square[i] = v[t + i];
    store_first(y + t, V(load_first<V>(y + t, steps - t) + sum_each(square)), steps - t);
  }
}
template <class V, class T>
void add_channels(cplx<T>* y, int64_t steps, const cplx<V>* v) {
  constexpr int W = kWidth<V>;
  for (int64_t t = 0; t < steps; t += W) {
    V re[W], im[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) {
      re[i] = v[t + i].re;
      im[i] = v[t + i].im;
    }
    const cplx<V> total{sum_each(re), sum_each(im)};
    for (int i = 0; i < min<int64_t>(W, steps - t); ++i) y[t + i] = y[t + i] + cplx<T>{total.re[i], total.im[i]};
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
