// First-order linear recurrences along one axis. Results have the same bits as the step-by-step recurrence, for any layout and number of
// threads.
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/complex_lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/parallel.hpp"
#include "ssm/scan/args.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

constexpr double kStepNs = 0.5;            // one step of one scan, vectorised (estimate)
constexpr int64_t kStripBytes = 16 << 10;  // strip of a row of states; it stays in L1 until the next row is computed
constexpr int64_t kLineSteps = 4096;       // longest part of a long scan for one lane; the shortest is a tenth of it
constexpr int64_t kBlockSteps = 16 << 10;  // shortest part for one thread
constexpr int64_t kAheadBytes = 256;       // prefetch distance; the hardware cannot follow W streams
constexpr double kRoundNs = 50e6;          // work between two synchronisations of the threads
constexpr double kSerialNs = 2;            // one step of one scan, bound by latency (estimate)

// One scan's addresses at its first step, and its strides in the order of steps.
template <class E>
struct Line {
  const E *a, *b;
  E* h;
  int64_t a_step, b_step, h_step;
};

template <class E>
Line<E> line_of(const Linear<E>& p, int64_t row, int64_t j) {
  using P = Linear<E>;
  const auto& r = p.rows;
  const auto at = [&](int o) { return r.offset(o, row) + j * r.across[o] + (p.reverse ? (r.length - 1) * r.along[o] : 0); };
  const int64_t sign = p.reverse ? -1 : 1;
  return {p.a + at(P::kA), p.b + at(P::kB), p.h + at(P::kH), sign * r.along[P::kA], sign * r.along[P::kB], sign * r.along[P::kH]};
}

// Runs steps [begin, end) of one scan in order: bound by the latency of a multiply-add, or of two if complex.
template <bool conj, class E>
void run_serial(const Line<E>& l, int64_t begin, int64_t end, E state) {
  in_parts(begin, end, kSerialNs, [&](int64_t i, int64_t stop) __attribute__((always_inline)) {
    for (; i < stop; ++i) {
      state = step(maybe_conjugate<conj>(l.a[i * l.a_step]), state, l.b[i * l.b_step]);
      l.h[i * l.h_step] = state;
    }
  });
}

// Recomputes steps [begin, end), which started from a wrong state, until a result has the same bits as the stored one; the following steps
// are then correct. Returns the number of recomputed steps.
template <bool conj, class E>
int64_t correct(const Line<E>& l, int64_t begin, int64_t end) {
  E state = l.h[(begin - 1) * l.h_step];
  InterruptCheck check;
  for (int64_t i = begin; i < end; ++i) {
    if (i % kLineSteps == 0) check(kLineSteps * kSerialNs);
    E& stored = l.h[i * l.h_step];
    state = step(maybe_conjugate<conj>(l.a[i * l.a_step]), state, l.b[i * l.b_step]);
    if (!__builtin_memcmp(&stored, &state, sizeof(E))) return i - begin;
    stored = state;
  }
  return end - begin;
}

// Advances W scans with contiguous time from the W states in `state`. W x W tiles are transposed in registers, so that loads
// and stores are full vectors. Reads a and b once, writes h once. Scans from `count` on are read but not written.
template <bool conj, class E>
void run_lines(const E* const* a, const E* const* b, E* const* h, int count, int64_t length, bool reverse, bool constant, const E* state) {
  using T = Part<E>;
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, parts = kParts<E>, steps = W / parts;  // steps per tile
  Pack<E, V> s = gather<E, V>([&](int i) { return state[i]; }), fixed{};
  if (constant) fixed = maybe_conjugate<conj>(gather<E, V>([&](int i) { return *a[i]; }));
  const int64_t tiles = (length + steps - 1) / steps, ahead = kAheadBytes / int64_t(sizeof(T));
  InterruptCheck check;
  for (int64_t q = 0; q < tiles; ++q) {
    check(W * W * kStepNs);
    const int64_t t = steps * (reverse ? tiles - 1 - q : q), left = min<int64_t>(steps, length - t);
    V x[W], m[W];
    const int64_t far = parts * t + (reverse ? -ahead : ahead);
    const bool fetch = far >= 0 && far < parts * length;
    const auto load_tile = [&](const E* const* from, V* to) __attribute__((always_inline)) {
      for (int i = 0; i < W; ++i) {
        const T* const line = reinterpret_cast<const T*>(from[i]);
        if (fetch) __builtin_prefetch(line + far, 0, 2);
        to[i] = load_first<V>(line + parts * t, parts * left);
      }
      transpose(to);
    };
    if (fetch)
      for (int i = 0; i < count; ++i) __builtin_prefetch(reinterpret_cast<const T*>(h[i]) + far, 1, 2);
    load_tile(b, x);
    if (!constant) load_tile(a, m);
    for (int64_t i = 0; i < left; ++i) {
      const int64_t k = parts * (reverse ? left - 1 - i : i);
      s = step(constant ? fixed : maybe_conjugate<conj>(column<E>(m + k)), s, column<E>(x + k));
      set_column<E>(x + k, s);
    }
    transpose(x);
    for (int i = 0; i < count; ++i) store_first(reinterpret_cast<T*>(h[i]) + parts * t, x[i], parts * left);
  }
}

// Runs steps [begin, end) of one scan with contiguous time, from `state`. Each lane processes a part; all but the first start from zero and
// are then corrected. A scan that does not forget its initial state is left to `run_serial`.
template <bool conj, class E>
void run_long(const Linear<E>& p, const Line<E>& l, int64_t begin, int64_t end, E state) {
  constexpr int W = kLanes<Part<E>>;
  const int64_t rounds = (end - begin + W * kLineSteps - 1) / (W * kLineSteps);
  const int64_t part = (end - begin) / (max<int64_t>(rounds, 1) * W) / W * W;
  int64_t i = begin;
  for (bool forgets = part >= kLineSteps / 10; forgets && end - i >= W * part; i += W * part) {
    const E *a[W], *b[W];
    E *h[W], start[W] = {i == begin ? state : l.h[(i - 1) * l.h_step]};
    for (int w = 0; w < W; ++w) {
      const int64_t first = i + (p.reverse ? (w + 1) * part - 1 : w * part);  // the first step in memory
      a[w] = l.a + first * l.a_step, b[w] = l.b + first * l.b_step, h[w] = l.h + first * l.h_step;
    }
    run_lines<conj>(a, b, h, W, part, p.reverse, l.a_step == 0, start);
    int64_t again = 0;
    for (int w = 1; w < W; ++w) again += correct<conj>(l, i + w * part, i + (w + 1) * part);
    forgets = again < W * part / 2;
  }
  run_serial<conj>(l, i, end, i == begin ? state : l.h[(i - 1) * l.h_step]);
}

// Advances n adjacent scans from `state` (n) through steps [begin, end). Many scans advance row by row: whole cache lines are streamed, and
// the previous row is still in L1. The states of a few scans stay in registers. Reads a and b once, writes h once.
template <bool conj, bool fixed, class E>
void run_strip(const Line<E>& l, int64_t n, int64_t begin, int64_t end, const E* state) {
  using T = Part<E>;
  const auto get_a = [&](auto columns, int64_t i, int64_t j) __attribute__((always_inline)) {
    using V = typename decltype(columns)::Vector;
    const E* const at = l.a + i * l.a_step;
    return maybe_conjugate<conj>(fixed ? broadcast<V>(*at) : load_pack<E, V>(at + j));
  };
  if (n > kTileVectors * kLanes<T>) {
    InterruptCheck check;
    for (int64_t i = begin; i < end; ++i) {
      check(double(n) * kStepNs);
      const E* const before = i == begin ? state : l.h + (i - 1) * l.h_step;
      const int64_t next = min(i + 1, end - 1);  // prefetched, because hardware prefetching stops at page boundaries
      for_columns<T, Rest::narrower>(n, [&](auto columns, int64_t j) __attribute__((always_inline)) {
        using V = typename decltype(columns)::Vector;
        if (!fixed) fetch(l.a + next * l.a_step + j, columns.count);
        fetch(l.b + next * l.b_step + j, columns.count);
        fetch<true>(l.h + next * l.h_step + j, columns.count);
        for (int64_t k = j; k < j + columns.count; k += kWidth<V>)
          store_pack<E, V>(l.h + i * l.h_step + k,
                           step(get_a(columns, i, k), load_pack<E, V>(before + k), load_pack<E, V>(l.b + i * l.b_step + k)));
      });
    }
  } else {
    for_columns<T, Rest::narrower>(n, [&](auto columns, int64_t j) __attribute__((always_inline)) {
      using V = typename decltype(columns)::Vector;
      constexpr int NV = columns.vectors;
      Pack<E, V> s[NV];
      for (int v = 0; v < NV; ++v) s[v] = load_pack<E, V>(state + j + v * kWidth<V>);
      in_parts(begin, end, columns.count * kStepNs, [&](int64_t i, int64_t stop) __attribute__((always_inline)) {
        for (; i < stop; ++i)
#pragma GCC unroll 3
          for (int v = 0; v < NV; ++v) {
            const int64_t k = j + v * kWidth<V>;
            s[v] = step(get_a(columns, i, k), s[v], load_pack<E, V>(l.b + i * l.b_step + k));
            store_pack<E, V>(l.h + i * l.h_step + k, s[v]);
          }
      });
    });
  }
}

// Whether scans from two different states have the same bits after at most `steps` steps.
template <bool conj, class E>
bool forgets(const Line<E>& l, int64_t steps) {
  E one{}, other{};
  reinterpret_cast<Part<E>&>(other) = 1;
  for (int64_t i = 0; i < steps; ++i) {
    const E a = maybe_conjugate<conj>(l.a[i * l.a_step]), b = l.b[i * l.b_step];
    one = step(a, one, b), other = step(a, other, b);
    if (!__builtin_memcmp(&one, &other, sizeof(E))) return true;
  }
  return false;
}

// Calls f(unit, first step, end step, follows) for units of scans in parallel. If `follows`, the unit starts from the state before the
// first step, otherwise from zero. If there are fewer units than threads, each is cut in time: all parts but the first start from zero and
// are corrected.
template <bool conj, class E, class F>
void for_units(const Linear<E>& p, int64_t units, F&& f) {
  const auto& r = p.rows;
  const int threads = threads_used(p.threads);
  const double step_ns = double(r.rows * r.inner) / double(units) * kStepNs * kParts<E>;
  const int64_t rounds = 1 + int64_t(double(r.length) * step_ns / kRoundNs), length = (r.length + rounds - 1) / rounds;
  const int64_t max_blocks = units < threads ? min<int64_t>((threads + units - 1) / units, length / kBlockSteps) : 1;
  const int64_t blocks = max_blocks > 1 && forgets<conj>(line_of(p, 0, 0), length / (4 * max_blocks)) ? max_blocks : 1;
  parallel_for(rounds, 1, double(length) * step_ns, [&](int64_t round, int64_t stop) {  // in order
    for (; round < stop; ++round) {
      const int64_t begin = round * length, n = min(length, r.length - begin);
      const auto step = [&](int64_t block) { return begin + n * block / blocks; };
      parallel_for(units * blocks, threads, double(n / blocks) * step_ns, [&](int64_t i, int64_t end) {
        for (; i < end; ++i) f(i / blocks, step(i % blocks), step(i % blocks + 1), i % blocks == 0);
      });
      if (blocks > 1)
        parallel_for(r.rows * r.inner, threads, double(n) * kStepNs, [&](int64_t i, int64_t end) {
          for (; i < end; ++i)
            for (int64_t k = 1; k < blocks; ++k) correct<conj>(line_of(p, i / r.inner, i % r.inner), step(k), step(k + 1));
        });
    }
  });
}

// One path per layout: time contiguous, many rows; time contiguous, few rows; adjacent scans; anything else.
template <bool conj, class E>
void run_any(const Linear<E>& p) {
  using P = Linear<E>;
  const auto& r = p.rows;
  constexpr int W = kLanes<Part<E>>;
  if (r.rows * r.length * r.inner == 0) return;
  const auto within = [](int64_t stride) { return stride == 0 || stride == 1; };
  const auto state = [&](int64_t row, int64_t j, int64_t begin, bool follows) {
    if (!follows) return E{};
    if (begin == 0) return p.h0 ? p.h0[r.offset(P::kH0, row) + j * r.across[P::kH0]] : E{};
    const Line<E> l = line_of(p, row, j);
    return l.h[(begin - 1) * l.h_step];
  };
  const bool contiguous = r.inner == 1 && r.along[P::kB] == 1 && r.along[P::kH] == 1 && within(r.along[P::kA]);
  if (contiguous && 4 * r.rows >= W) {
    for_units<conj>(p, (r.rows + W - 1) / W, [&](int64_t group, int64_t begin, int64_t end, bool follows) {
      const E *a[W], *b[W];
      E *h[W], start[W];
      const int count = int(min<int64_t>(W, r.rows - group * W));
      for (int i = 0; i < W; ++i) {  // unused lanes repeat the last row
        const int64_t row = group * W + min(i, count - 1);
        const Line<E> l = line_of(p, row, 0);
        const int64_t first = p.reverse ? end - 1 : begin;
        a[i] = l.a + first * l.a_step, b[i] = l.b + first * l.b_step, h[i] = l.h + first * l.h_step;
        start[i] = state(row, 0, begin, follows);
      }
      run_lines<conj>(a, b, h, count, end - begin, p.reverse, r.along[P::kA] == 0, start);
    });
  } else if (contiguous) {
    for_units<conj>(p, r.rows, [&](int64_t row, int64_t begin, int64_t end, bool follows) {
      run_long<conj>(p, line_of(p, row, 0), begin, end, state(row, 0, begin, follows));
    });
  } else if (r.inner > 1 && r.across[P::kB] == 1 && r.across[P::kH] == 1 && within(r.across[P::kA])) {
    const int threads = threads_used(p.threads);
    const int64_t wanted = threads > 1 ? (r.inner * r.rows + 2 * threads - 1) / (2 * threads) : r.inner,
                  max_width = kStripBytes / int64_t(sizeof(E));
    const int64_t width = min(max_width, max<int64_t>(4 * W, round_up(wanted, W))), strips = (r.inner + width - 1) / width;
    for_units<conj>(p, r.rows * strips, [&](int64_t unit, int64_t begin, int64_t end, bool follows) {
      const int64_t row = unit / strips, j = unit % strips * width, n = min(width, r.inner - j);
      alignas(64) E start[kStripBytes / sizeof(E)];
      for (int64_t i = 0; i < n; ++i) start[i] = state(row, j + i, begin, follows);
      const Line<E> l = line_of(p, row, j);
      r.across[P::kA] ? run_strip<conj, false>(l, n, begin, end, start) : run_strip<conj, true>(l, n, begin, end, start);
    });
  } else {
    for_units<conj>(p, r.rows * r.inner, [&](int64_t unit, int64_t begin, int64_t end, bool follows) {
      const int64_t row = unit / r.inner, j = unit % r.inner;
      run_serial<conj>(line_of(p, row, j), begin, end, state(row, j, begin, follows));
    });
  }
}

template <class E>
void linear(const Linear<E>& p) {
  run_any<false>(p);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
