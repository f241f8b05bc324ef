// The gated delta rule on a GPU: passing the states through the chunks, the outputs, and the memory of a call. README (5)-(9), (14), (18),
// (19).
#pragma once
#include "core/cuda/workspace.hpp"
#include "ssm/delta/cuda_chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int kStateColumns = kSide / 2;  // columns of a state per thread block; half a tile, for more thread blocks

// ------------------------------------------------------------ states

// Passes states from chunk to chunk. The initial state is `first` (null: 0), and the final one goes to `last` (null: not requested). If
// `back`, it passes the gradients of the states instead, in reverse order.
template <class T>
struct Passing {
  const T* first;
  T *states, *last;
  bool back;
};
// (5), (9), or backwards (14), (18). One thread block per kStateColumns columns of a head's state processes all chunks of a sequence in
// order.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) pass_states(const Call<T> s, const Back<T> b, const Passing<T> pass, const int64_t tiles) {
  QF_SHARED(Tile<T>, shared);
  const int64_t state_size = int64_t(s.K) * s.V;
  for (int64_t at = blockIdx.x; at < s.p.sequences * s.value_heads * tiles; at += gridDim.x) {
    const int64_t row = quotient(at, tiles), n = quotient(row, s.value_heads), head = row - n * s.value_heads;
    const int v0 = int(at - row * tiles) * kStateColumns, columns = s.V - v0;
    const Span sequence = s.sequence(n);
    const int64_t chunks = s.chunks_of(sequence.tokens), begin = s.first_chunk(n, sequence.first);
    if (chunks == 0 && !pass.back) continue;  // processed token by token
    T* const last = pass.last ? pass.last + row * state_size : nullptr;
    const auto state_of = [&](int64_t chunk) { return pass.states + (chunk * s.value_heads + head) * state_size; };
    int64_t k = pass.back ? begin + chunks - 1 : begin;
    T* state = chunks ? state_of(k) : last;
    // Each element of a state always belongs to the same thread.
    QF_ROLLED
    for (int k0 = 0; state && k0 < s.K; k0 += kSide)
      each_own(kStateColumns, [&](int i, int j) {
        const int64_t x = int64_t(k0 + i) * s.V + v0 + j;
        if (k0 + i < s.K && j < columns) state[x] = pass.first ? pass.first[row * state_size + x] : T(0);
      });
    QF_ROLLED
    for (int64_t left = chunks; left > 0; --left) {
      const HeadChunk<T> me(s, k * s.value_heads + head);
      const int tokens = me.n;
      if (s.corrects || pass.back) {
        T total[kPatch][kPatch / 2] = {};
        add_product<true, false>(
            tokens, s.K, columns,
            [&](int i, int l) { return s.corrects ? s.w[me.gate(i) * s.K + l] : T(s.to_end[me.gate(i)] * me.key(false, i, l)); },
            [&](int l, int j) { return state[int64_t(l) * s.V + v0 + j]; }, *shared, total);
        each_number(*shared, total, [&](int i, int j, T value) {
          if (i >= tokens || j >= columns) return;
          T& to = (pass.back ? b.y : s.u)[me.value(i, v0 + j)];
          to = pass.back ? to + value : to - value;
        });
      }
      k += pass.back ? -1 : 1;
      T* const to = left > 1 ? state_of(k) : last;
      if (!to) continue;
      const T total_decay = s.from_start[me.gate(tokens - 1)];
      // Forward: d_j k_j x_j^T. Backward: c_i q_i w_i^T, followed by -c_i k_i z_i^T.
      QF_ROLLED
      for (int k0 = 0; k0 < s.K; k0 += kSide) {
        T total[kPatch][kPatch / 2] = {};
        add_product<false, false>(
            s.K - k0, pass.back && s.corrects ? 2 * tokens : tokens, columns,
            [&](int i, int l) {
              const bool query = pass.back && l < tokens;
              const int t = l < tokens ? l : l - tokens;
              const T x = (pass.back ? s.from_start : s.to_end)[me.gate(t)] * me.key(query, t, k0 + i);
              return l < tokens ? x : -x;
            },
            [&](int l, int j) {
              if (!pass.back) return me.written(l, v0 + j);
              return l < tokens ? b.grad(me, l, v0 + j) : b.dv(me, l - tokens, v0 + j);
            },
            *shared, total);
        each_number(*shared, total, [&](int i, int j, T value) {
          const int64_t x = int64_t(k0 + i) * s.V + v0 + j;
          if (k0 + i < s.K && j < columns) to[x] = multiply_add(total_decay, state[x], value);
        });
      }
      state = to;
    }
  }
}

// ------------------------------------------------------------ outputs

// Computes the outputs (8). One thread block per chunk, value head and kSide columns.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_outputs(const Call<T> s, const int64_t tiles) {
  QF_SHARED(Tile<T>, shared);
  for (int64_t at = blockIdx.x; at < s.chunks * s.value_heads * tiles; at += gridDim.x) {
    const int64_t head_chunk = quotient(at, tiles);
    const HeadChunk<T> me(s, head_chunk);
    if (me.empty()) continue;
    const int v0 = int(at - head_chunk * tiles) * kSide, n = me.n, K = s.K;
    T total[kPatch][kPatch] = {};
    add_product<true, false>(
        n, K + n, s.V - v0,
        [&](int i, int l) { return l < K ? T(s.from_start[me.gate(i)] * me.key(true, i, l)) : s.reads[me.pair(i, l - K)]; },
        [&](int l, int j) { return l < K ? s.states[me.state(l, v0 + j)] : me.written(l - K, v0 + j); }, *shared, total);
    each_number(*shared, total, [&](int i, int j, T value) {
      if (i < n && v0 + j < s.V) s.p.o[me.value(i, v0 + j)] = T(s.p.scale) * value;
    });
  }
}

// ------------------------------------------------------------ a call

// The memory of a call: values per token, pairs of tokens, and the state before each chunk.
template <class T>
struct Buffers {
  Call<T> call;
  const Workspace<Span> table;
  const Workspace<int> wrong;
  const Workspace<T> factors, decays, pairs, u, w, states;

  // Sequences of up to `few` tokens have no chunks.
  Buffers(const DeltaRule<T>& p, int64_t few)
      : call(call_of(p, few)),
        table(call.chunks),
        wrong(p.begins ? 1 : 0),
        factors(call.chunks && p.normalizes ? 2 * p.B * p.length * p.heads : 0),
        decays(call.chunks ? 2 * count() : 0),
        pairs(call.chunks ? (p.corrects ? 2 : 1) * count() * kChunk : 0),
        u(call.chunks && p.corrects ? count() * p.V : 0),
        w(call.chunks && p.corrects ? count() * p.K : 0),
        states(head_chunks() * p.K * p.V) {
    call.table = table, call.wrong = wrong, call.states = states;
    call.u = p.corrects ? u : const_cast<T*>(p.v), call.w = w;  // without a correction, u is v, which is not written
    if (call.chunks) {
      if (p.normalizes) call.q_factor = factors, call.k_factor = factors + p.B * p.length * p.heads;
      call.from_start = decays, call.to_end = decays + count(), call.reads = pairs;
      if (p.corrects) call.corrects = pairs + count() * kChunk;
    }
    if (call.wrong) check_cuts(p.begins, p.sequences, p.length, call.wrong);
    launch(cut<T>, tile_blocks(call.chunks), kThreads, 0, call);
  }
  int64_t count() const { return call.p.B * call.p.length * call.p.value_heads; }
  int64_t head_chunks() const { return call.chunks * call.p.value_heads; }
  void check(T* to, int64_t n) const {
    if (to && call.p.begins) launch(put_nan<T>, tile_blocks(n), kThreads, 0, call.wrong, to, n);
  }

 private:
  // With cu_seqlens, the chunks of different sequences never share a slot, wherever the sequences begin. A sequence's first chunk is in
  // slot first / kChunk plus the index of the sequence, or in slot first / (few + 1) if this takes fewer slots: sequences with chunks begin
  // at least few + 1 tokens apart.
  static Call<T> call_of(const DeltaRule<T>& p, int64_t few) {
    Call<T> s{};
    s.p = p, s.few = few, s.group = int(p.value_heads / p.heads);
    s.K = int(p.K), s.V = int(p.V), s.heads = int(p.heads), s.value_heads = int(p.value_heads);
    if (p.begins) {
      const int64_t by_few = p.length / (few + 1), by_number = p.length / kChunk + p.sequences;
      s.unit = by_few < by_number ? few + 1 : kChunk, s.per_sequence = by_few < by_number ? 0 : 1;
      s.chunks = min(by_few, by_number);
    } else {
      s.unit = 0xffffffff, s.per_sequence = p.length > few ? (p.length + kChunk - 1) / kChunk : 0;
      s.chunks = p.sequences * s.per_sequence;
    }
    if (max(max(s.chunks, p.B * p.length) * p.value_heads, max(p.K, p.V)) >= kTooMany)
      throw DeviceError("chunk_gated_delta_rule: 2^31 or more tokens times heads, or elements per row, are too many for a GPU kernel");
    return s;
  }
};

// Computes u, the state before each chunk and, if requested, the final states.
template <class T>
void put_states(const Buffers<T>& buffers) {
  const Call<T>& s = buffers.call;
  const DeltaRule<T>& p = s.p;
  if (s.chunks) {
    const int64_t rows = p.B * p.length * p.heads, tiles = tiles_of(p.V) + tiles_of(p.K);
    if (s.q_factor) launch(put_factors<T>, warp_blocks(2 * rows), kThreads, 0, s, rows);
    launch(put_pairs<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), s);
    if (p.corrects) launch(solve<T>, buffers.head_chunks() * tiles, kThreads, sizeof(Shared<T>), s, Back<T>{}, tiles);
  }
  const int64_t tiles = tiles_of(p.V, kStateColumns);
  launch(pass_states<T>, p.sequences * p.value_heads * tiles, kThreads, sizeof(Tile<T>), s, Back<T>{},
         Passing<T>{p.initial, s.states, p.final, false}, tiles);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
