// S5, a multi-input, multi-output diagonal system: product, scan, product, tile by tile. B batch, L time, H channels, P states. A row is
// one time step of one sequence, b L + t: H elements of u and of y, and 2 P of the states, real parts first.
#pragma once
#include "core/gemm/packed.hpp"
#include "core/lanes/complex_lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"
#include "ssm/s5/args.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

constexpr int64_t kTile = 96;                         // rows, 12 register tiles; stays in L2 with its states and both products' panels
constexpr int64_t kStoredNumbers = int64_t(1) << 18;  // elements of states stored at a time: 1 MiB of floats
constexpr int64_t kManySequences = 16;                // with at least this many short sequences, each thread processes whole sequences
constexpr double kShortNs = 5e6;                      // the longest time between two checks for an interrupt
constexpr double kSplitNs = 2;                        // per element, from memory (estimate)
constexpr int kScanVectors = 2;                       // vectors of states per scan, to hide the latency of two multiply-adds

// The number of rows whose states are stored at a time. Threads share these rows; in the adjoint they are a segment.
inline int64_t rows_stored(int64_t P) {
  const int64_t tiles = kStoredNumbers / (2 * max<int64_t>(P, 4) * kTile);
  return kTile * max<int64_t>(tiles, 1);
}

// Calls f(sequence, first row, end row) for the sequences that overlap rows [first, end), forwards or backwards in time.
template <class F>
void for_sequences(int64_t L, int64_t first, int64_t end, bool against, F&& f) {
  if (!against)
    for (int64_t row = first; row < end;) {
      const int64_t b = row / L, stop = min((b + 1) * L, end);
      f(b, row, stop);
      row = stop;
    }
  else
    for (int64_t row = end; row > first;) {
      const int64_t b = (row - 1) / L, start = max(b * L, first);
      f(b, start, row);
      row = start;
    }
}

// Splits elements [j, j + n) of one sequence's states into real and imaginary parts; zeros if `from` is null.
template <class T>
void load_parts(const cplx<T>* from, int64_t P, int64_t j, int64_t n, T* to) {
  for (int64_t i = j; i < j + n; ++i) {
    to[i] = from ? from[i].re : T(0);
    to[P + i] = from ? from[i].im : T(0);
  }
}
template <class T>
void store_parts(const T* from, int64_t P, int64_t j, int64_t n, cplx<T>* to) {
  for (int64_t i = j; i < j + n; ++i) to[i] = {from[i], from[P + i]};
}

// NV vectors of complex numbers, in registers.
template <class V, int NV>
struct Parts {
  cplx<V> v[NV];
  QF_HD void load(const Element<V>* at, int64_t P) {
#pragma GCC unroll 2
    for (int i = 0; i < NV; ++i) v[i] = load_complex<V>(at + i * kWidth<V>, at + P + i * kWidth<V>);
  }
  QF_HD void store(Element<V>* at, int64_t P) const {
#pragma GCC unroll 2
    for (int i = 0; i < NV; ++i) store_complex(at + i * kWidth<V>, at + P + i * kWidth<V>, v[i]);
  }
};

// README (1) for NV vectors of states over `count` rows. Overwrites B u. Reads and writes x once; the state is in registers.
template <class V, int NV>
void advance(int64_t P, const Element<V>* lambda, int64_t count, Element<V>* x, int64_t step, Element<V>* state) {
  Parts<V, NV> a, h, b;
  a.load(lambda, P);
  h.load(state, P);
  for (int64_t i = 0; i < count; ++i, x += step) {
    b.load(x, P);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) h.v[v] = scan::step(a.v[v], h.v[v], b.v[v]);
    h.store(x, P);
  }
  h.store(state, P);
}

// Calls f(Columns, first state) in parallel, for blocks of states that fit in the registers of a scan.
template <class T, class F>
void for_states(int64_t P, int threads, double row_count, F&& f) {
  constexpr int64_t block = kScanVectors * kLanes<T>;
  parallel_for((P + block - 1) / block, threads, row_count * 3, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for_columns<T, Rest::narrower>(min(block, P - i * block),
                                     [&](auto columns, int64_t j) __attribute__((always_inline)) { f(columns, i * block + j); });
  });
}

// Calls f(first row, end row) in parallel for tiles of rows; `products` is the number of multiply-adds per row.
template <class T, class F>
void for_tiles(int64_t first, int64_t end, int threads, int64_t products, F&& f) {
  parallel_for((end - first + kTile - 1) / kTile, threads, double(kTile * products) * kMultiplyAddNs<T>, [&](int64_t i, int64_t stop) {
    for (; i < stop; ++i) f(first + i * kTile, min(end, first + (i + 1) * kTile));
  });
}

// Computes the states of one direction.
template <class T>
struct States {
  const Apply<T>& p;
  bool reverse;
  const T* lambda;  // real, then imaginary parts
  const T* b;       // packed (H x 2P)
  T* state;         // (2P): after the last processed row

  // Sets x (rows x 2P) to the states of rows [first, end), continuing from `state`.
  void operator()(int64_t first, int64_t end, int threads, T* x) const {
    const int64_t P = p.P, H = p.H, L = p.L;
    for_tiles<T>(first, end, threads, 2 * P * H, [&](int64_t row, int64_t stop) {
      multiply_packed(stop - row, H, 2 * P, p.u + row * H, b, x + (row - first) * 2 * P,
                      p.y ? Ahead(p.y + row * H, (stop - row) * H) : Ahead());
    });
    for_states<T>(P, threads, double(end - first), [&](auto columns, int64_t j) {
      for_sequences(L, first, end, reverse, [&](int64_t sequence, int64_t row, int64_t stop) {
        if (reverse ? stop == (sequence + 1) * L : row == sequence * L)
          load_parts<T>(p.initial ? p.initial + sequence * P : nullptr, P, j, columns.count, state);
        advance<typename decltype(columns)::Vector, columns.vectors>(
            P, lambda + j, stop - row, x + ((reverse ? stop - 1 : row) - first) * 2 * P + j, reverse ? -2 * P : 2 * P, state + j);
        if (p.last && (reverse ? row == sequence * L : stop == (sequence + 1) * L))
          store_parts<T>(state, P, j, columns.count, p.last + sequence * P);
      });
    });
  }
};

// to (rows x H) = a (rows x 2P) times a packed matrix, + D x. If `sum` (kTile x H) is not null, adds only the product, to `to`.
template <class T, class Next = NothingAhead>
void project(int64_t rows, int64_t P, int64_t H, const T* a, const T* packed, const T* D, const T* x, T* to, T* sum, Next ahead = {}) {
  multiply_packed(rows, 2 * P, H, a, packed, sum ? sum : to, ahead);
  if (sum)
    for (int64_t i = 0; i < rows * H; ++i) to[i] += sum[i];
  else if (D)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t h = 0; h < H; ++h) to[i * H + h] += D[h] * x[i * H + h];
}

// The real and imaginary parts of m (rows x cols, rows `stride` apart), transposed, with rows `to_stride` apart.
template <class T>
void split_transposed(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im,
                      int64_t to_stride) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, half = W / 2;
  const auto put = [&](int64_t c, int64_t i) {
    re[c * to_stride + i] = re_factor * m[i * stride + c].re;
    im[c * to_stride + i] = im_factor * m[i * stride + c].im;
  };
  int64_t r = 0;
  for (; r + W <= rows; r += W) {
    check_interrupt(double(W * cols) * kSplitNs);
    int64_t c = 0;
    for (; c + half <= cols; c += half) {
      V square[W];
      for (int i = 0; i < W; ++i) square[i] = load<V>(reinterpret_cast<const T*>(m + (r + i) * stride + c));
      transpose(square);
      for (int i = 0; i < half; ++i) {
        store(re + (c + i) * to_stride + r, square[2 * i] * re_factor);
        store(im + (c + i) * to_stride + r, square[2 * i + 1] * im_factor);
      }
    }
    for (; c < cols; ++c)
      for (int64_t i = r; i < r + W; ++i) put(c, i);
  }
  InterruptCheck check;
  for (int64_t c = 0; c < cols; ++c, check(double(rows - r) * kSplitNs))
    for (int64_t i = r; i < rows; ++i) put(c, i);
}

// As above, without transposing.
template <class T>
void split_parts(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im, int64_t to_stride) {
  InterruptCheck check;
  for (int64_t r = 0; r < rows; ++r, check(double(cols) * kSplitNs))
    for (int64_t c = 0; c < cols; ++c) {
      re[r * to_stride + c] = re_factor * m[r * stride + c].re;
      im[r * to_stride + c] = im_factor * m[r * stride + c].im;
    }
}

// The packed parameters of the tiles.
template <class T>
struct Operands {
  int64_t in, out;  // sizes of a packed (H x 2P) and a packed (2P x H) matrix
  Scratch<T> lambda, b, c;

  explicit Operands(const Apply<T>& p)
      : in(p.H * packed_columns<T>(2 * p.P)), out(2 * p.P * packed_columns<T>(p.H)), lambda(2 * p.P), b(in), c(2 * out) {
    const int64_t P = p.P, H = p.H, directions = p.bidirectional ? 2 : 1;
    const T factor = p.multiplicity();
    Scratch<T> plain(2 * P * H);
    load_parts<T>(p.lambda, P, 0, P, lambda);
    split_transposed<T>(P, H, p.b, H, 1, 1, plain, plain + P, 2 * P);
    pack_columns<T>(H, 2 * P, plain, b);
    for (int64_t d = 0; d < directions; ++d) {  // README (2): Re(C x) as one real product
      split_transposed<T>(H, P, p.c + d * P, directions * P, factor, -factor, plain, plain + P * H, H);
      pack_columns<T>(2 * P, H, plain, c + d * out);
    }
  }
};

// Computes rows [first, end) of whole sequences. Reads u twice, once from cache; writes y once. The states of a tile stay in cache.
template <class T>
void apply_rows(const Apply<T>& p, const Operands<T>& w, int64_t first, int64_t end, int threads) {
  const int64_t P = p.P, H = p.H, length = threads == 1 ? kTile : rows_stored(P), rounds = (end - first + length - 1) / length;
  Scratch<T> x(min(length, end - first) * 2 * P), state(2 * P);
  for (int d = 0; d < (p.bidirectional ? 2 : 1); ++d) {
    const States<T> states{p, d == 1, w.lambda, w.b, state};
    const double ns = double(length * 4 * P * H) * kMultiplyAddNs<T>;
    parallel_for(rounds, 1, ns, [&](int64_t i, int64_t stop) {  // in order, because the state is passed on
      for (; i < stop; ++i) {
        const int64_t at = d ? rounds - 1 - i : i, row = first + at * length, row_end = min(end, row + length);
        states(row, row_end, threads, x);
        for_tiles<T>(row, row_end, threads, 2 * P * H, [&](int64_t tile, int64_t tile_end) {
          Scratch<T> sum(d ? kTile * H : 0);
          const int64_t from = d ? max(first, tile - kTile) : tile_end, to = d ? tile : min(end, tile_end + kTile);  // the next tile
          project<T>(tile_end - tile, P, H, x + (tile - row) * 2 * P, w.c + d * w.out, p.D, p.u + tile * H, p.y + tile * H,
                     d ? static_cast<T*>(sum) : nullptr, Ahead(p.u + from * H, (to - from) * H));
        });
      }
    });
  }
}

template <class T>
void apply(const Apply<T>& p) {
  if (p.L == 0 && p.last)
    for (int64_t i = 0; i < p.B * p.P; ++i) p.last[i] = p.initial ? p.initial[i] : cplx<T>{};
  if (p.B * p.L == 0) return;
  const Operands<T> operands(p);
  const int threads = threads_used(p.threads);
  const double sequence_ns = double(p.L * 4 * p.P * p.H) * kMultiplyAddNs<T>;
  if (threads > 1 && p.B >= kManySequences && sequence_ns < kShortNs)
    parallel_for(p.B, threads, sequence_ns, [&](int64_t begin, int64_t end) { apply_rows(p, operands, begin * p.L, end * p.L, 1); });
  else
    apply_rows(p, operands, 0, p.B * p.L, threads);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
