// The gated delta rule on a GPU: states that go from chunk to chunk, outputs, and what a call keeps. README (5)-(9), (14), (18), (19).
#pragma once
#include "core/cuda/workspace.hpp"
#include "ssm/delta/cuda_chunk.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

constexpr int kStateColumns = kSide / 2;  // of a state that a block takes from chunk to chunk: more blocks than of whole tiles

// ------------------------------------------------------------ states

// From chunk to chunk, `first` (null: 0) to `last` (null: not asked for), or with `back` gradients from the last chunk to the first.
template <class T>
struct Passing {
  const T* first;
  T *states, *last;
  bool back;
};
// (5), (9), or (14), (18): a block some columns of a head's state, all chunks of a sequence one after the other.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) pass_states(const Call<T> s, const Back<T> b, const Passing<T> pass, const int64_t tiles) {
  QF_SHARED(Tile<T>, shared);
  const DeltaRule<T>& p = s.p;
  for (int64_t at = blockIdx.x; at < p.sequences * p.value_heads * tiles; at += gridDim.x) {
    const int64_t row = quotient(at, tiles), n = quotient(row, p.value_heads), head = remainder(row, p.value_heads);
    const int64_t v0 = remainder(at, tiles) * kStateColumns, columns = p.V - v0;
    const Span sequence = s.sequence(n);
    const int64_t chunks = s.chunks_of(sequence), begin = s.first_chunk(n, sequence);
    if (chunks == 0 && !pass.back) continue;  // token by token
    // The numbers of a state that are a thread's, and of the same thread wherever they are.
    const auto each_state = [&](auto f) {
      QF_ROLLED
      for (int64_t k0 = 0; k0 < p.K; k0 += kSide)
        each_own(kStateColumns, [&](int i, int j) {
          if (k0 + i < p.K && j < columns) f((k0 + i) * p.V + v0 + j);
        });
    };
    const int64_t of_head = p.K * p.V;
    T* const first = chunks      ? pass.states + ((pass.back ? begin + chunks - 1 : begin) * p.value_heads + head) * of_head
                     : pass.last ? pass.last + row * of_head
                                 : nullptr;
    if (first) each_state([&](int64_t x) { first[x] = pass.first ? pass.first[row * of_head + x] : T(0); });
    QF_ROLLED
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t k = pass.back ? begin + chunks - 1 - c : begin + c;
      const Place<T> me(s, k * p.value_heads + head);
      const int64_t tokens = me.c.tokens;
      const T* const state = pass.states + me.state(0, v0);
      if (s.corrects || pass.back) {
        T total[kPatch][kPatch / 2] = {};
        add_product<true, false>(
            tokens, p.K, columns,
            [&](int64_t i, int64_t l) { return s.corrects ? s.w[me.gate(i) * p.K + l] : T(s.until[me.gate(i)] * me.key(false, i, l)); },
            [&](int64_t l, int64_t j) { return state[l * p.V + j]; }, *shared, total);
        each_number(*shared, total, [&](int i, int j, T value) {
          if (i >= tokens || j >= columns) return;
          T& to = (pass.back ? b.y : s.u)[me.value(i, v0 + j)];
          to = pass.back ? to + value : to - value;
        });
      }
      const bool ends = c + 1 == chunks;
      T* const to = !ends       ? pass.states + ((pass.back ? k - 1 : k + 1) * p.value_heads + head) * of_head
                    : pass.last ? pass.last + row * of_head
                                : nullptr;
      if (!to) continue;
      const T total_decay = s.since[me.gate(tokens - 1)];
      // Forward d_j k_j x_j^T; back c_i q_i w_i^T, and behind them -c_i k_i z_i^T.
      QF_ROLLED
      for (int64_t k0 = 0; k0 < p.K; k0 += kSide) {
        T total[kPatch][kPatch / 2] = {};
        add_product<false, false>(
            p.K - k0, pass.back && s.corrects ? 2 * tokens : tokens, columns,
            [&](int64_t i, int64_t l) {
              if (!pass.back) return s.until[me.gate(l)] * me.key(false, l, k0 + i);
              const bool query = l < tokens;
              const int64_t t = query ? l : l - tokens;
              const T x = s.since[me.gate(t)] * me.key(query, t, k0 + i);
              return query ? x : -x;
            },
            [&](int64_t l, int64_t j) {
              if (!pass.back) return me.written(l, v0 + j);
              return l < tokens ? b.grad(me, l, v0 + j) : b.dv(me, l - tokens, v0 + j);
            },
            *shared, total);
        each_number(*shared, total, [&](int i, int j, T value) {
          const int64_t x = (k0 + i) * p.V + j;
          if (k0 + i < p.K && j < columns) to[x + v0] = multiply_add(total_decay, state[x], value);
        });
      }
    }
  }
}

// ------------------------------------------------------------ outputs

// (8) A block some columns of a chunk of a head.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) put_outputs(const Call<T> s, const int64_t tiles) {
  QF_SHARED(Tile<T>, shared);
  for (int64_t at = blockIdx.x; at < s.chunks * s.p.value_heads * tiles; at += gridDim.x) {
    const Place<T> me(s, quotient(at, tiles));
    if (me.empty()) continue;
    const int64_t v0 = remainder(at, tiles) * kSide, n = me.c.tokens, K = s.p.K;
    T total[kPatch][kPatch] = {};
    add_product<true, false>(
        n, K + n, s.p.V - v0,
        [&](int64_t i, int64_t l) { return l < K ? T(s.since[me.gate(i)] * me.key(true, i, l)) : s.reads[me.pair(i, l - K)]; },
        [&](int64_t l, int64_t j) { return l < K ? s.states[me.state(l, v0 + j)] : me.written(l - K, v0 + j); }, *shared, total);
    each_number(*shared, total, [&](int i, int j, T value) {
      if (i < n && v0 + j < s.p.V) s.p.o[me.value(i, v0 + j)] = T(s.p.scale) * value;
    });
  }
}

// ------------------------------------------------------------ a call

// What it keeps: numbers a token, pairs of tokens, and the states before all chunks.
template <class T>
struct Kept {
  Call<T> call;
  const Workspace<Span> table;
  const Workspace<int> wrong;
  const Workspace<T> factors, decays, pairs, u, w, states;

  // Forward sequences of `few` tokens are not in it.
  Kept(const DeltaRule<T>& p, int64_t few)
      : call(call_of(p, few)),
        table(p.begins ? call.chunks : 0),
        wrong(p.begins ? 1 : 0),
        factors(call.chunks && p.normalizes ? 2 * p.B * p.length * p.heads : 0),
        decays(call.chunks ? 2 * count() : 0),
        pairs(call.chunks ? (p.corrects ? 2 : 1) * count() * kChunk : 0),
        u(call.chunks && p.corrects ? count() * p.V : 0),
        w(call.chunks && p.corrects ? count() * p.K : 0),
        states(places() * p.K * p.V) {
    if (places() >= kTooMany) throw DeviceError("chunk_gated_delta_rule: 2^31 chunks or more are too many for a GPU");
    call.table = table, call.wrong = wrong, call.states = states;
    call.u = p.corrects ? u : const_cast<T*>(p.v), call.w = w;  // of v, which is u without a correction, nothing is written
    if (call.chunks) {
      if (p.normalizes) call.of_q = factors, call.of_k = factors + p.B * p.length * p.heads;
      call.since = decays, call.until = decays + count(), call.reads = pairs;
      if (p.corrects) call.corrects = pairs + count() * kChunk;
    }
    if (p.begins) launch(cut<T>, 1, kThreads, kThreads * sizeof(int), call);
  }
  int64_t count() const { return call.p.B * call.p.length * call.p.value_heads; }
  int64_t places() const { return call.chunks * call.p.value_heads; }
  void check(T* to, int64_t n) const {
    if (to && call.wrong) launch(put_nan<T>, tile_blocks(n), kThreads, 0, call.wrong, to, n);
  }

 private:
  // With cu_seqlens a sequence's first chunk is where no other's can be, wherever they begin: of those that have chunks at all one in every
  // few + 1 tokens, or one and what all full chunks before it are.
  static Call<T> call_of(const DeltaRule<T>& p, int64_t few) {
    Call<T> s{};
    s.p = p, s.few = few, s.group = p.value_heads / p.heads;
    s.each = p.length > few ? (p.length + kChunk - 1) / kChunk : 0;
    s.chunks = p.sequences * s.each;
    if (!p.begins) return s;
    const int64_t by_few = p.length / (few + 1), by_number = p.length / kChunk + p.sequences;
    s.unit = by_few < by_number ? few + 1 : kChunk, s.places = by_few < by_number ? 0 : 1;
    s.chunks = min(by_few, by_number);
    return s;
  }
};

// All that comes before the outputs: u, and the states before all chunks; the last ones where they are asked for.
template <class T>
void put_states(const Kept<T>& kept) {
  const Call<T>& s = kept.call;
  const DeltaRule<T>& p = s.p;
  if (s.chunks) {
    const int64_t rows = p.B * p.length * p.heads, tiles = tiles_of(p.V) + tiles_of(p.K);
    if (s.of_q) launch(put_factors<T>, warp_blocks(2 * rows), kThreads, 0, s, rows);
    launch(put_pairs<T>, kept.places(), kThreads, sizeof(Shared<T>), s);
    if (p.corrects) launch(solve<T>, kept.places() * tiles, kThreads, sizeof(Shared<T>), s, Back<T>{}, tiles);
  }
  const int64_t tiles = tiles_of(p.V, kStateColumns);
  launch(pass_states<T>, p.sequences * p.value_heads * tiles, kThreads, sizeof(Tile<T>), s, Back<T>{},
         Passing<T>{p.initial, s.states, p.final, false}, tiles);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
