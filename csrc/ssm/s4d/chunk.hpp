// The recurrence of a diagonal model in chunks. Everything between two states is a matrix product, and the state passes from chunk to chunk
// in double precision. README (4)-(7).
#pragma once
#include "core/gemm/packed.hpp"
#include "core/lanes/shuffles.hpp"
#include "ssm/modes/steps.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::s4d {
using namespace modes;
inline namespace QF_ISA {

constexpr int64_t kChunk = 32;       // samples; longer chunks advance the state less often but have more near taps per sample
constexpr int64_t kRebuild = 32;     // chunks between recomputations of a float64 state: about sqrt(1000), the best for rows of 1000 chunks
constexpr int64_t kTileChunks = 96;  // chunks per tile; their states, inputs and outputs stay in L2, the matrices in L1

// One channel's matrices. A state has 2 n elements: W real parts, W imaginary parts, and so on.
template <class T>
class Chunks {
 public:
  using V = Modes::V;
  static constexpr int W = Modes::W;

  Chunks(int64_t n, int64_t M)
      : n_(n),
        M_(M),
        in_(kChunk * 2 * n),
        out_(M * 2 * n * kChunk),
        near_(M * kChunk * kChunk),
        stride_(2 * n),
        far_(2 * n),
        taps_(M * kChunk * W) {}

  // Sets the matrices to those of channel h. `modes` contains the modes of this channel and their weights Cbar.
  void set(const Modes& modes, const Model<T>& p, int64_t h, const T* D) {
    set_zero<double>(taps_, M_ * kChunk * W);
    for (int64_t i = 0; i < n_; i += W) {
      const int64_t left = p.N - i;
      const cplx<V> z = modes.z(i);
      const cplx<V> input = modes.input(i, p.B ? p.B + h * p.N : nullptr);
      cplx<V> power[W + 1] = {{broadcast<V>(1.0), V{}}};
      for (int64_t t = 0; t < kChunk; t += W) {  // power[k] = z^(t + k)
        for (int64_t k = 0; k < W; ++k) {
          const cplx<V> fed = input * power[k];
          store_complex(in_ + (kChunk - 1 - t - k) * 2 * n_ + 2 * i, fed);
          power[k + 1] = (t + k) % 16 == 15 ? modes.power(i, t + k + 1) : power[k] * z;
        }
        for (int64_t m = 0; m < M_; ++m) {
          const cplx<V> weight = modes.weight(m, i), C = scaled(load_first<V>(p.C + (m * p.H + h) * p.N + i, left), broadcast<V>(2.0));
          V re[W], im[W];
          for (int64_t k = 0; k < W; ++k) {
            double* const tap = taps_ + (m * kChunk + t + k) * W;
            store(tap, V(load<V>(tap) + (weight * power[k]).re));
            const cplx<V> seen = C * power[k + 1];
            re[k] = seen.re, im[k] = -seen.im;
          }
          transpose(re);
          transpose(im);
          T* const out = out_ + (m * 2 * n_ + 2 * i) * kChunk + t;
          for (int64_t k = 0; k < W; ++k) store_complex(out + k * kChunk, out + (W + k) * kChunk, cplx<V>{re[k], im[k]});
        }
        power[0] = power[W];
      }
      store_complex(stride_ + 2 * i, power[0]);
      store_complex(far_ + 2 * i, modes.power(i, kRebuild * kChunk));
    }
    for (int64_t m = 0; m < M_; ++m) {
      alignas(64) T row[2 * kChunk] = {};  // row s of the triangle is shifted by s
      for (int64_t t = 0; t < kChunk; t += W) {
        V parts[W];
        for (int64_t k = 0; k < W; ++k) parts[k] = load<V>(taps_ + (m * kChunk + t + k) * W);
        V tap = V(2.0 * sum_each(parts));
        if (t == 0 && D) tap[0] += double(D[m * p.H + h]);
        store_as(row + kChunk + t, tap);
      }
      for (int64_t s = 0; s < kChunk; ++s)
        __builtin_memcpy(near_ + (m * kChunk + s) * kChunk, row + kChunk - s, std::size_t(kChunk) * sizeof(T));
    }
  }

  // Computes the contribution of each of `count` chunks to the next state (count x 2n).
  void project(const T* u, int64_t count, T* states) const {
    multiply<Left::rows, T>(count, kChunk, u, kChunk, in_, 2 * n_, 2 * n_, states, 2 * n_);
  }
  // Replaces each chunk's contribution in `states` by the state before the chunk. `state` is the state before the first chunk on entry and
  // after the last chunk on return. Bound by latency, which leaves time to prefetch.
  void advance(double* state, int64_t count, T* states, Ahead ahead = {}) const {
    int64_t i = 0;
    for (; i + 4 * W <= 2 * n_; i += 4 * W) advance_modes<2>(i, state, count, states, ahead);
    if (i < 2 * n_) advance_modes<1>(i, state, count, states, ahead);
  }
  // Computes y of output m, two registers of samples at a time: first the contribution of the states, then the near taps.
  void emit(int64_t m, const T* u, int64_t count, const T* states, T* y) const {
    for (int64_t t = 0; t < kChunk; t += 2 * kLanes<T>)
      for_panels(count, [&](auto rows, int64_t c) __attribute__((always_inline)) {
        emit_tile<rows.value>(m, t, u + c * kChunk, states + c * 2 * n_, y + c * kChunk + t);
      });
  }
  // Computes the state after `rest` < kChunk samples.
  void finish(const Modes& modes, const T* u, int64_t rest, double* state) const {
    alignas(64) T late[kChunk] = {};  // the samples at the end of a zero-padded chunk, where the projection has the right powers
    __builtin_memcpy(late + kChunk - rest, u, std::size_t(rest) * sizeof(T));
    Scratch<T> added(2 * n_);
    project(late, 1, added);
    for (int64_t i = 0; i < n_; i += W) {
      const cplx<V> s = modes.power(i, rest) * load_complex<V>(state + 2 * i);
      store_complex(state + 2 * i, s + load_complex<V>(added + 2 * i));
    }
  }

 private:
  // Computes two registers of samples, starting at t, for each of `rows` chunks, with all sums in registers. Each register skips the rows
  // of near taps that contain only zeros for it.
  template <int rows>
  QF_HD void emit_tile(int64_t m, int64_t t, const T* u, const T* states, T* y) const {
    using L = Lanes<T>;
    constexpr int64_t lanes = kLanes<T>;
    L first[rows], second[rows];
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) first[i] = second[i] = L{};
    const auto add = [&](auto both, const T* a, int64_t stride, const T* b, int64_t n) __attribute__((always_inline)) {
      for (int64_t k = 0; k < n; ++k) {
        const L x = load<L>(b + k * kChunk), z = load<L>(b + k * kChunk + lanes);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const L s = broadcast<L>(a[i * stride + k]);
          if (both) first[i] = multiply_add(s, x, first[i]);
          second[i] = multiply_add(s, z, second[i]);
        }
      }
    };
    const T* const near = near_ + m * kChunk * kChunk + t;
    add(std::true_type{}, states, 2 * n_, out_ + m * 2 * n_ * kChunk + t, 2 * n_);
    add(std::true_type{}, u, kChunk, near, t + lanes);
    add(std::false_type{}, u + t + lanes, kChunk, near + (t + lanes) * kChunk, lanes);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) store(y + i * kChunk, first[i]), store(y + i * kChunk + lanes, second[i]);
  }
  // K registers of modes at a time, to hide latency. In float64 the rounding error of z^kChunk would accumulate. Every kRebuild chunks the
  // state is therefore recomputed: the state kRebuild chunks earlier times a directly computed power of z, plus the contributions since.
  template <int K>
  void advance_modes(int64_t i, double* state, int64_t count, T* states, Ahead& ahead) const {
    constexpr bool rebuilds = sizeof(T) == 8;
    cplx<V> z[K], s[K], before[K], added_since[K] = {};
    for (int k = 0; k < K; ++k) {
      const int64_t at = i + k * 2 * W;
      z[k] = load_complex<V>(stride_ + at);
      s[k] = before[k] = load_complex<V>(state + at);
    }
    for (int64_t c = 0; c < count; ++c) {
      ahead.step(count * ((n_ / W + 1) / 2));
      for (int k = 0; k < K; ++k) {
        T* const x = states + c * 2 * n_ + i + k * 2 * W;
        const cplx<V> added = load_complex<V>(x);
        store_complex(x, s[k]);
        s[k] = scan::step(z[k], s[k], added);
        if (rebuilds) added_since[k] = scan::step(z[k], added_since[k], added);
      }
      if (rebuilds && c % kRebuild == kRebuild - 1)
        for (int k = 0; k < K; ++k) {
          s[k] = before[k] = scan::step(load_complex<V>(far_ + i + k * 2 * W), before[k], added_since[k]);
          added_since[k] = cplx<V>{};
        }
    }
    for (int k = 0; k < K; ++k) store_complex(state + i + k * 2 * W, s[k]);
  }

  const int64_t n_, M_;
  Scratch<T> in_, out_, near_;
  Scratch<double> stride_, far_, taps_;
};

// Computes one row of one channel; y of output m starts at y + m y_stride; `after` is the next row or null. Processes tile by tile: reads u
// from memory once, later from cache, and writes y once.
template <class T>
void scan_row(const Chunks<T>& chunks, const Modes& modes, const T* u, const T* after, int64_t L, int64_t M, T* y, int64_t y_stride,
              double* state, bool state_wanted, T* states) {
  const int64_t whole = L / kChunk, rest = L % kChunk;
  for (int64_t c = 0; c < whole; c += kTileChunks) {
    const int64_t count = min(kTileChunks, whole - c), at = c * kChunk;
    check_interrupt(double(count * kChunk) * double((M + 1) * (2 * modes.n + kChunk)) * kMultiplyAddNs<T>);
    chunks.project(u + at, count, states);
    const int64_t end = at + count * kChunk;
    const T* const next = end < L ? u + end : after;
    chunks.advance(state, count, states, next ? Ahead(next, min(kTileChunks * kChunk, end < L ? L - end : L)) : Ahead());
    for (int64_t m = 0; m < M; ++m) chunks.emit(m, u + at, count, states, y + m * y_stride + at);
  }
  if (!rest) return;
  const int64_t at = whole * kChunk;
  alignas(64) T early[kChunk] = {}, short_y[kChunk];
  __builtin_memcpy(early, u + at, std::size_t(rest) * sizeof(T));
  for (int64_t i = 0; i < 2 * modes.n; i += Modes::W) store_as(states + i, load<Modes::V>(state + i));
  for (int64_t m = 0; m < M; ++m) {
    chunks.emit(m, early, 1, states, short_y);
    __builtin_memcpy(y + m * y_stride + at, short_y, std::size_t(rest) * sizeof(T));
  }
  if (state_wanted) chunks.finish(modes, u + at, rest, state);
}

// The same results with the tiles of the row spread over threads. Only the states, a small part of the work, are sequential.
template <class T>
void scan_row_threaded(const Chunks<T>& chunks, const Modes& modes, const T* u, int64_t L, int64_t M, T* y, int64_t y_stride, double* state,
                       bool state_wanted, int threads) {
  constexpr int64_t kTiles = 64;  // tiles at a time; their states have 2 n / kChunk elements per sample
  const int64_t whole = L / kChunk, item = kTileChunks * kChunk;
  const double ns = double(item) * double(2 * modes.n + kChunk) * kMultiplyAddNs<T>;
  Scratch<T> states(min(whole + 1, kTiles * kTileChunks) * 2 * modes.n);
  for (int64_t c = 0; c < whole; c += kTiles * kTileChunks) {
    const int64_t count = min(kTiles * kTileChunks, whole - c), tiles = (count + kTileChunks - 1) / kTileChunks;
    const auto for_tiles = [&](auto&& f) {
      parallel_for(tiles, threads, ns, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin * kTileChunks; t < end * kTileChunks && t < count; t += kTileChunks)
          f(u + (c + t) * kChunk, min(kTileChunks, count - t), states + t * 2 * modes.n, (c + t) * kChunk);
      });
    };
    for_tiles([&](const T* part, int64_t n, T* s, int64_t) { chunks.project(part, n, s); });
    chunks.advance(state, count, states);
    for_tiles([&](const T* part, int64_t n, T* s, int64_t at) {
      for (int64_t m = 0; m < M; ++m) chunks.emit(m, part, n, s, y + m * y_stride + at);
    });
  }
  const int64_t at = whole * kChunk;
  scan_row<T>(chunks, modes, u + at, nullptr, L - at, M, y + at, y_stride, state, state_wanted, states);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
