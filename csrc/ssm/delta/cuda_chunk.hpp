// Chunks of the gated delta rule on a GPU: their positions, and everything that does not depend on a state. README (2), (4)-(8), (19).
#pragma once
#include "core/cuda/cuts.hpp"
#include "core/cuda/tile.hpp"
#include "ssm/delta/args.hpp"
#include "ssm/delta/formula.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int kThreads = kTileThreads;
constexpr int64_t kChunk = kSide;  // tokens
constexpr int64_t kFewTokens = 8;  // the longest sequence that is processed token by token in the forward pass

// A range of tokens, counted over all items: a sequence, or a chunk of one.
struct Span {
  int64_t first, tokens;
};

// A call: its arguments and its device memory.
template <class T>
struct Call {
  DeltaRule<T> p;
  int K, V, heads, value_heads, group;  // the same as in p; group: value heads that share a query and key
  int64_t few;                          // sequences of up to `few` tokens have no chunks
  int64_t chunks;                       // slots for chunks, some of which may be empty
  int64_t unit, per_sequence;           // a sequence's chunks begin at first / unit + per_sequence * its index
  Span* table;                          // spans of all chunks
  int* wrong;                           // the number of invalid entries of cu_seqlens
  T *q_factor, *k_factor;               // (B, length, heads), the factors of (2); null: 1
  T *from_start, *to_end;               // (B, length, value_heads), c and d of (4)
  T *reads, *corrects;                  // (B, length, value_heads, kChunk), A of (8) and E of (6), null without a correction
  T *u, *w;                             // (B, length, value_heads, V and K), (19): U, then u; W
  T* states;                            // (chunks, value_heads, K, V), before every chunk

  __device__ int64_t begin(int64_t n) const { return p.begins ? p.begins[n] : n * p.length; }
  __device__ Span sequence(int64_t n) const { return wrong && *wrong ? Span{0, 0} : Span{begin(n), begin(n + 1) - begin(n)}; }
  __device__ int64_t chunks_of(int64_t tokens) const { return tokens <= few ? 0 : (tokens + kChunk - 1) / kChunk; }
  __device__ int64_t first_chunk(int64_t n, int64_t first) const { return quotient(first, unit) + per_sequence * n; }
};

// One chunk of one value head. `at`: its index in (chunks, value_heads).
template <class T>
struct HeadChunk {
  const Call<T>& s;
  int64_t at, gates, keys;  // gates, keys: indices of its first token in arrays with value_heads and with heads
  int n;                    // tokens

  __device__ HeadChunk(const Call<T>& s, int64_t at) : s(s), at(at) {
    const int64_t k = quotient(at, s.value_heads), head = at - k * s.value_heads;
    const Span c = s.table[k];
    gates = c.first * s.value_heads + head, keys = c.first * s.heads + quotient(head, s.group), n = int(c.tokens);
  }
  __device__ bool empty() const { return n == 0; }
  __device__ int64_t gate(int i) const { return gates + int64_t(i) * s.value_heads; }
  __device__ int64_t value(int i, int v) const { return gate(i) * s.V + v; }
  __device__ int64_t pair(int i, int j) const { return gate(i) * kChunk + j; }
  __device__ int64_t state(int k, int v) const { return at * (int64_t(s.K) * s.V) + (int64_t(k) * s.V + v); }
  // Keys, or queries, after (2).
  __device__ int64_t row(int i) const { return keys + int64_t(i) * s.heads; }
  __device__ T key(bool query, int i, int k) const {
    const T x = (query ? s.p.q : s.p.k)[row(i) * s.K + k];
    return s.q_factor ? (query ? s.q_factor : s.k_factor)[row(i)] * x : x;
  }
  __device__ T beta(int i) const { return s.p.beta ? s.p.beta[gate(i)] : T(1); }
  __device__ T written(int i, int v) const { return beta(i) * s.u[value(i, v)]; }  // x of (7)
  // Stores the first part of the sum of row i in `of_tokens`; adds later parts to it.
  __device__ void add_row(bool first, T* of_tokens, int i, T sum) const {
    if (i < n) put_or_add(first, sum, of_tokens[gate(i)]);
  }
};

template <class T>
struct Shared : Tile<T> {
  T square[kSide][kPitch];  // (4) the decay from token j to token i; or a triangular system below its diagonal
  double gates[kSide];
};

// Computes the decays (4) as products in double precision. They are visible after the next barrier. `from_start` may be null.
template <class T>
__device__ __forceinline__ void load_decays(const HeadChunk<T>& me, Shared<T>& shared, T* from_start) {
  const int j = threadIdx.x, n = me.n;
  if (j < n) shared.gates[j] = me.s.p.g ? decay(me.s.p.g[me.gate(j)]) : 1;
  __syncthreads();
  double product = 1;
  if (j < n) {
    shared.square[j][j] = T(1);
    QF_ROLLED
    for (int i = j + 1; i < n; ++i) product *= shared.gates[i], shared.square[i][j] = T(product);
  } else if (j == kSide && from_start) {
    QF_ROLLED
    for (int i = 0; i < n; ++i) product *= shared.gates[i], from_start[me.gate(i)] = T(product);
  }
}

// ------------------------------------------------------------ before the states

// Fills the table of chunks, one thread per slot; some slots may be empty. If cu_seqlens is invalid, all slots are empty.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) cut(const Call<T> s) {
  QF_ROLLED
  for (int64_t k = int64_t(blockIdx.x) * kThreads + threadIdx.x; k < s.chunks; k += int64_t(gridDim.x) * kThreads) {
    const int64_t n = sequence_at(k, s.p.sequences, [&](int64_t i) { return s.first_chunk(i, s.sequence(i).first); });
    const Span all = s.sequence(n);
    const int64_t before = (k - s.first_chunk(n, all.first)) * kChunk, tokens = s.chunks_of(all.tokens) * kChunk > before ? all.tokens : 0;
    s.table[k] = {all.first + before, max(min(kChunk, tokens - before), int64_t(0))};
  }
}

// Computes the factors of (2). One warp per query or key.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_factors(const Call<T> s, const int64_t rows) {
  const int lane = threadIdx.x % kWarp;
  each_of_warp(2 * rows, [&](int64_t at) {
    const bool query = at < rows;
    const int64_t row = query ? at : at - rows;
    const T* const x = (query ? s.p.q : s.p.k) + row * s.p.K;
    T sum(0);
    QF_ROLLED
    for (int64_t n = lane; n < s.p.K; n += kWarp) sum = multiply_add(x[n], x[n], sum);
    sum = sum_of_lanes(sum);
    if (lane == 0) (query ? s.q_factor : s.k_factor)[row] = inverse_norm(sum);
  });
}

// Computes the decays (4) and the pair products (6), (8). One thread block per chunk and value head. Reads queries once, keys three times.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_pairs(const Call<T> s) {
  QF_SHARED(Shared<T>, shared);
  each_item<HeadChunk<T>>(s, s.chunks * s.value_heads, [&](const HeadChunk<T>& me) {
    const int n = me.n;
    load_decays(me, *shared, s.from_start);
    QF_ROLLED
    for (int is_query = s.corrects ? 0 : 1; is_query < 2; ++is_query) {
      T total[kPatch][kPatch] = {};
      add_product<true, true>(
          n, s.K, n, [&](int i, int l) { return me.key(is_query, i, l); }, [&](int l, int j) { return me.key(false, j, l); }, *shared,
          total);
      each_number(*shared, total, [&](int i, int j, T value) {
        if (i < n && j < n) (is_query ? s.reads : s.corrects)[me.pair(i, j)] = j < i + is_query ? T(shared->square[i][j] * value) : T(0);
      });
    }
    if (const int j = threadIdx.x; j < n) s.to_end[me.gate(j)] = shared->square[n - 1][j];
  });
}

// Overwrites the tile with the solution x of (I + square) x = tile, in blocks of kBlock rows, one thread per column.
constexpr int kBlock = 16;
template <class T>
__device__ __forceinline__ void solve_lower(int n, Shared<T>& shared) {
  QF_ROLLED
  for (int b = 0; b < n; b += kBlock) {
    const int end = min(b + kBlock, n);
    __syncthreads();
    if (const int c = threadIdx.x; c < kSide) {
      QF_ROLLED
      for (int i = b + 1; i < end; ++i) {
        T x = shared.tile[i][c];
        QF_UNROLL(4)
        for (int j = b; j < i; ++j) x = multiply_add(-shared.square[i][j], shared.tile[j][c], x);
        shared.tile[i][c] = x;
      }
    }
    __syncthreads();
    QF_ROLLED
    for (int i = end + int(threadIdx.x) / kRows; i < n; i += kRows) {
      T* const row = shared.tile[i] + threadIdx.x % kRows;
      T x[kPatch];
      for (int c = 0; c < kPatch; ++c) x[c] = row[c * kRows];
      QF_UNROLL(4)
      for (int j = b; j < end; ++j)
        for (int c = 0; c < kPatch; ++c) x[c] = multiply_add(-shared.square[i][j], shared.tile[j][threadIdx.x % kRows + c * kRows], x[c]);
      for (int c = 0; c < kPatch; ++c) row[c * kRows] = x[c];
    }
  }
}

// The arrays of the gradient; all null in the forward pass.
template <class T>
struct Back {
  DeltaRuleAdjoint<T> q;
  T* y;                               // same shape as u: Y, then y; z is y times beta
  T* states;                          // the gradients of the states after the chunks
  T *across, *from_state, *to_state;  // (B, length, value_heads), terms of (17)
  __device__ T grad(const HeadChunk<T>& me, int i, int v) const { return T(me.s.p.scale) * q.grad[me.value(i, v)]; }
  __device__ T dv(const HeadChunk<T>& me, int i, int v) const { return me.beta(i) * y[me.value(i, v)]; }
};

// Solves for U and W (19), or backwards for Y and W'. One thread block per chunk, value head and kSide columns of V or K. Backwards, the
// system is transposed and solved with its rows in reverse order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) solve(const Call<T> s, const Back<T> b, const int64_t tiles) {
  QF_SHARED(Shared<T>, shared);
  const int value_tiles = int(tiles_of(s.V));
  const bool back = b.y;
  for (int64_t at = blockIdx.x; at < s.chunks * s.value_heads * tiles; at += gridDim.x) {
    const int64_t head_chunk = quotient(at, tiles);
    const HeadChunk<T> me(s, head_chunk);
    if (me.empty()) continue;
    const int tile = int(at - head_chunk * tiles), n = me.n;
    const bool is_value = tile < value_tiles;
    const int c0 = (is_value ? tile : tile - value_tiles) * kSide, columns = is_value ? s.V : s.K;
    const auto row = [&](int i) { return back ? n - 1 - i : i; };
    T total[kPatch][kPatch] = {};
    if (back && is_value)
      add_product<false, false>(
          n, n, s.V - c0, [&](int i, int j) { return j >= row(i) ? s.reads[me.pair(j, row(i))] : T(0); },
          [&](int j, int c) { return b.grad(me, j, c0 + c); }, *shared, total);
    each_number(*shared, total, [&](int i, int c, T& value) {
      if (i >= n || c0 + c >= columns) return;
      if (!is_value)
        value = (back ? s.to_end : s.from_start)[me.gate(row(i))] * me.key(false, row(i), c0 + c);
      else if (!back)
        value = s.p.v[me.value(i, c0 + c)];
    });
    if (s.corrects) {
      each_own(kSide, [&](int i, int j) {
        if (i < n && j < i) shared->square[i][j] = s.corrects[back ? me.pair(row(j), row(i)) : me.pair(i, j)] * me.beta(row(j));
      });
      solve_lower(n, *shared);
    }
    T* const to = !is_value ? s.w : back ? b.y : s.u;
    each_own(kSide, [&](int i, int c) {
      if (i < n && c0 + c < columns) to[me.gate(row(i)) * columns + c0 + c] = shared->tile[i][c];
    });
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
