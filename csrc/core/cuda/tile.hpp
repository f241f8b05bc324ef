// Matrix products with one tile of the result per thread block; callbacks compute the factors when they are loaded. Also loops and prefix
// sums for blocks and warps.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int kTileThreads = 256;
constexpr int kSide = 64;              // rows of a tile, and its maximum number of columns
constexpr int kPatch = 4;              // rows per thread, and the maximum number of columns per thread
constexpr int kRows = kSide / kPatch;  // distance between a thread's rows, and between its columns
constexpr int kDepth = 16;             // terms of the sum per slice of both factors in shared memory
constexpr int kPitch = kSide + 1;      // puts the rows of a transposed factor into different banks

QF_HD constexpr int64_t tiles_of(int64_t numbers, int64_t side = kSide) { return (numbers + side - 1) / side; }
constexpr int64_t tile_blocks(int64_t threads) { return (threads + kTileThreads - 1) / kTileThreads; }
constexpr int64_t warp_blocks(int64_t warps) { return tile_blocks(warps * kWarp); }

// One thread per element: writes NaN if *wrong is not 0, that is, if an argument has a value that the host would reject.
template <class T>
__global__ void __launch_bounds__(kTileThreads, 1) put_nan(const int* wrong, T* to, const int64_t n) {
  if (*wrong == 0) return;
  QF_ROLLED
  for (int64_t i = int64_t(blockIdx.x) * kTileThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kTileThreads)
    to[i] = T(__builtin_nan(""));
}

// The shared memory of a block: slices of both factors, and a tile.
template <class T>
struct Tile {
  T a[kDepth][kPitch], b[kDepth][kPitch], tile[kSide][kPitch];
};

// Calls f(item) for each nonempty work item of this block, out of `count` items such as the chunks of all heads.
template <class Item, class Call, class F>
__device__ __forceinline__ void each_item(const Call& call, int64_t count, F f) {
  for (int64_t at = blockIdx.x; at < count; at += gridDim.x) {
    const Item item(call, at);
    if (!item.empty()) f(item);
  }
}

// Calls f(index) for each of this warp's indices below `count`.
template <class F>
__device__ __forceinline__ void each_of_warp(int64_t count, F f) {
  constexpr int warps = kTileThreads / kWarp;
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * warps + threadIdx.x / kWarp; at < count; at += int64_t(gridDim.x) * warps) f(at);
}

// Prefix sums of up to kSide elements of a warp: lane l holds elements l, l + 32, ... Each is replaced by its inclusive prefix sum, or, if
// `back`, by its inclusive suffix sum. Returns the total, in every lane.
constexpr int kRowParts = kSide / kWarp;
template <bool back, class T, class Plus>
__device__ __forceinline__ T running_sums(T (&x)[kRowParts], Plus plus) {
  const int lane = threadIdx.x % kWarp, rank = back ? kWarp - 1 - lane : lane;
  T total{};
  QF_UNROLL(2)
  for (int part = 0; part < kRowParts; ++part) {
    T& sum = x[back ? kRowParts - 1 - part : part];
    QF_UNROLL(5)
    for (int by = 1; by < kWarp; by *= 2) {
      const T other = shuffle_from(sum, back ? lane + by : lane - by);
      if (rank >= by) sum = plus(other, sum);
    }
    sum = plus(total, sum), total = shuffle_from(sum, back ? 0 : kWarp - 1);
  }
  return total;
}

// total += a b for one tile. Calls a(i, k) and b(k, j) for i < rows, k < depth and j < columns; they may read memory that the block wrote
// earlier. k_contiguous_a and k_contiguous_b: whether a and b are contiguous in k.
template <bool k_contiguous_a, bool k_contiguous_b, int across, class T, class A, class B>
__device__ __forceinline__ void add_product(int rows, int depth, int columns, A a, B b, Tile<T>& shared, T (&total)[kPatch][across]) {
  constexpr int wide = across * kRows;
  const int ti = threadIdx.x / kRows, tj = threadIdx.x % kRows;
  QF_ROLLED
  for (int k = 0; k < depth; k += kDepth) {
    __syncthreads();
    QF_ROLLED
    for (int n = threadIdx.x; n < kSide * kDepth; n += kTileThreads) {
      const int i = k_contiguous_a ? n / kDepth : n % kSide, l = k_contiguous_a ? n % kDepth : n / kSide;
      shared.a[l][i] = i < rows && k + l < depth ? a(i, k + l) : T(0);
    }
    QF_ROLLED
    for (int n = threadIdx.x; n < wide * kDepth; n += kTileThreads) {
      const int j = k_contiguous_b ? n / kDepth : n % wide, l = k_contiguous_b ? n % kDepth : n / wide;
      shared.b[l][j] = j < columns && k + l < depth ? b(k + l, j) : T(0);
    }
    __syncthreads();
    T sum[kPatch][across] = {};  // a sum of few terms, which limits its rounding error
    QF_UNROLL(4)
    for (int l = 0; l < kDepth; ++l)
      for (int i = 0; i < kPatch; ++i)
        for (int j = 0; j < across; ++j) sum[i][j] = multiply_add(shared.a[l][ti + i * kRows], shared.b[l][tj + j * kRows], sum[i][j]);
    for (int i = 0; i < kPatch; ++i)
      for (int j = 0; j < across; ++j) total[i][j] += sum[i][j];
  }
}

// Calls f(row, column) for each of this thread's elements of a tile, in columns below `columns`.
template <class F>
__device__ __forceinline__ void each_own(int columns, F f) {
  QF_ROLLED
  for (int i = threadIdx.x / kRows; i < kSide; i += kRows) {
    QF_ROLLED
    for (int j = threadIdx.x % kRows; j < columns; j += kRows) f(i, j);
  }
}
// Calls f(row, column, value) for each of this thread's elements. They pass through shared memory, so that one copy of f is compiled
// instead of sixteen. Then one thread per row calls put(row, sum) with the sum of f over the columns of the tile.
template <int across, class T, class F, class P>
__device__ __forceinline__ void each_row(Tile<T>& shared, const T (&total)[kPatch][across], F f, P put) {
  const int ti = threadIdx.x / kRows, tj = threadIdx.x % kRows;
  for (int i = 0; i < kPatch; ++i)
    for (int j = 0; j < across; ++j) shared.tile[ti + i * kRows][tj + j * kRows] = total[i][j];
  QF_ROLLED
  for (int i = ti; i < kSide; i += kRows) {
    T sum(0);
    QF_ROLLED
    for (int j = tj; j < across * kRows; j += kRows) sum += f(i, j, shared.tile[i][j]);
    sum = sum_of_lanes<kRows>(sum);
    if (tj == 0) put(i, sum);
  }
}
// The same as each_row, without the sums.
template <int across, class T, class F>
__device__ __forceinline__ void each_number(Tile<T>& shared, const T (&total)[kPatch][across], F f) {
  const int ti = threadIdx.x / kRows, tj = threadIdx.x % kRows;
  for (int i = 0; i < kPatch; ++i)
    for (int j = 0; j < across; ++j) shared.tile[ti + i * kRows][tj + j * kRows] = total[i][j];
  each_own(across * kRows, [&](int i, int j) { f(i, j, shared.tile[i][j]); });
}
// Reads the tile back from shared memory into `total`.
template <int across, class T>
__device__ __forceinline__ void take_back(const Tile<T>& shared, T (&total)[kPatch][across]) {
  const int ti = threadIdx.x / kRows, tj = threadIdx.x % kRows;
  for (int i = 0; i < kPatch; ++i)
    for (int j = 0; j < across; ++j) total[i][j] = shared.tile[ti + i * kRows][tj + j * kRows];
}

template <class T>
__device__ __forceinline__ void put_or_add(bool first, T part, T& sum) {
  sum = first ? part : sum + part;
}

// Element (i, j) of a tile, j < i, covers the indices j + 1 to i. Calls put(t, sum) for t < n, with the sum of the elements that cover t.
template <class T, class P>
__device__ __forceinline__ void crossing_sums(Tile<T>& shared, int n, P put) {
  const int t = threadIdx.x;
  __syncthreads();
  if (t < n) {  // exclusive prefix sums along row t
    T before(0);
    QF_ROLLED
    for (int j = 0; j <= t; ++j) {
      const T x = shared.tile[t][j];
      shared.tile[t][j] = before;
      before += x;
    }
  }
  __syncthreads();
  if (t < n) {
    T sum(0);
    QF_ROLLED
    for (int i = t; i < n; ++i) sum += shared.tile[i][t];
    put(t, sum);
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil
