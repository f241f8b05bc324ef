// The data of one head in one chunk: step sizes, decays, and rows of its arrays.
#pragma once
#include "ssm/delta/head_decays.hpp"
#include "ssm/ssd/chunks.hpp"
#include "ssm/ssd/formula.hpp"
#include "ssm/ssd/products.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int64_t kMaxSteps = 64;  // per chunk; its triangles, 16 KB each in float32, stay in L1 together with their operands

// The number of steps per chunk, at most the requested number; and the row length of a triangle, rounded up to whole vectors.
template <class T>
int64_t chunk_steps(const ChunkScan<T>& p) {
  return max<int64_t>(1, min(min(p.steps, kMaxSteps), p.length));
}
template <class T>
int64_t padded_steps(const ChunkScan<T>& p) {
  return round_up(p.steps, kLanes<T>);
}

template <class T>
const T* row_of(const Signal<T>& s, int64_t item, int64_t time, int64_t head) {
  return s.at + item * s.item + time * s.time + head * s.head;
}
// Loads one vector of the channels of a row, from channel p on.
template <class V, class T>
QF_HD V load_channels(const T* row, int64_t stride, int64_t p) {
  if constexpr (kWidth<V> == 1) {
    return row[p * stride];
  } else {
    if (stride == 1) return load<V>(row + p);
    V v{};
    for (int i = 0; i < kWidth<V>; ++i) v[i] = row[(p + i) * stride];
    return v;
  }
}
// The same for a row of `channels` channels; lanes beyond the last channel are 0.
template <class V, class T>
V load_channels_padded(const T* row, int64_t stride, int64_t p, int64_t channels) {
  if (stride == 1) return load_first<V>(row + p, channels - p);
  V v{};
  for (int i = 0; i < kWidth<V> && p + i < channels; ++i) v[i] = row[(p + i) * stride];
  return v;
}
// D of the same channels.
template <class V, class T>
V skip_of(const ChunkScan<T>& p, int64_t head, int64_t channel) {
  if (!p.D) return V{};
  return p.D_of_channels ? load_first<V>(p.D + head * p.channels + channel, p.channels - channel) : broadcast<V>(p.D[head]);
}

// The data of (1) and (3): arrays of `padded` elements (whole vectors), and a matrix with one row of `padded` elements per step.
template <class T>
struct Steps {
  static int64_t size(int64_t padded) { return (4 + padded) * padded; }
  T *raw, *dt;
  T *from_start, *to_end;  // decay from the start of the chunk through step i, and from there to the end of the chunk
  T* decays;               // row i: decays from each step j <= i to step i
  T all = T(1);            // the decay of the whole chunk
  int64_t padded;
  Steps(T* memory, int64_t padded)
      : raw(memory), dt(raw + padded), from_start(dt + padded), to_end(from_start + padded), decays(to_end + padded), padded(padded) {}

  void prepare(const ChunkScan<T>& p, int64_t item, int64_t head, const Chunk& chunk) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    const T* const from = row_of(p.dt, item, chunk.begin, head);
    const T bias = p.dt_bias ? p.dt_bias[head] : T(0);
    const int64_t n = chunk.steps;
    double logs[kMaxSteps];
    for (int64_t i = 0; i < n; ++i) raw[i] = from[i * p.dt.time] + bias;
    for (int64_t i = n; i < padded; ++i) raw[i] = T(0);
    for (int64_t i = 0; i < padded; i += W) {
      V v = load<V>(raw + i);
      if (p.softplus) v = elementary::softplus(v, elementary::softplus_tail(v));
      store(dt + i, clipped(v, broadcast<V>(p.dt_min), broadcast<V>(p.dt_max)));
    }
    for (int64_t i = 0; i < padded; ++i) logs[i] = i < n ? double(dt[i]) * double(p.A[head]) : 0;
    delta::head_decays<kMaxSteps>(n, padded, logs, decays, padded, from_start, to_end);
    all = from_start[n - 1];
  }

  // Calls f(j, v) for each vector v of row i of `decays`; v starts at column j, and the last one contains column i.
  template <class F>
  QF_HD void decays_to(int64_t i, F&& f) const {
    for (int64_t j = 0; j <= i; j += kLanes<T>) f(j, load<Lanes<T>>(decays + i * padded + j));
  }
};

// Prefetches `count` channels of a row of a signal.
template <class T>
QF_HD void fetch_row(const Signal<T>& s, int64_t item, int64_t head, int64_t time, int64_t channel, int64_t count) {
  if (s.at && s.channel == 1) fetch(row_of(s, item, time, head) + channel, count);
}
// Prefetches the rows of a chunk, because the hardware prefetcher does not follow rows this far apart.
template <class T>
void fetch_rows(const Signal<T>& s, int64_t item, int64_t head, const Chunk& chunk, int64_t channels) {
  for (int64_t i = 0; i < chunk.steps; ++i) fetch_row(s, item, head, chunk.begin + i, 0, channels);
}

// to (steps x cols) = the rows of a signal in one chunk, row i times scale[i] unless `scale` is null.
template <class T>
void scaled_rows(const Signal<T>& s, int64_t item, int64_t head, const Chunk& chunk, const T* scale, int64_t cols, Matrix<T> to) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    using V = typename C::Vector;
    T* const column = to.column(columns, j);
    for (int64_t i = 0; i < chunk.steps; ++i) {
      const T* const row = row_of(s, item, chunk.begin + i, head);
      const T by = scale ? scale[i] : T(1);
      if (s.channel == 1)
#pragma GCC unroll 3
        for (int v = 0; v < C::vectors; ++v)
          store(column + i * to.step(columns) + v * kWidth<V>, V(load<V>(row + j + v * kWidth<V>) * broadcast<V>(by)));
      else
        for (int k = 0; k < C::count; ++k) column[i * to.step(columns) + k] = row[(j + k) * s.channel] * by;
    }
  });
}
// Multiplies row i of n rows by scale[i], in place or into another matrix with the same layout.
template <class T>
void scale_rows(int64_t n, const T* scale, int64_t cols, Matrix<const T> from, Matrix<T> to) {
  for_columns<T, Rest::narrower>(cols, [&](auto columns, int64_t j) {
    using C = decltype(columns);
    using V = typename C::Vector;
    const T* const a = from.column(columns, j);
    T* const b = to.column(columns, j);
    for (int64_t i = 0; i < n; ++i)
#pragma GCC unroll 3
      for (int v = 0; v < C::vectors; ++v)
        store(b + i * to.step(columns) + v * kWidth<V>, V(load<V>(a + i * from.step(columns) + v * kWidth<V>) * broadcast<V>(scale[i])));
  });
}

// (4) The products C_i.B_j, j <= i, of a chunk, for each item and group, with one row of `padded` elements per step. They are computed once
// for all heads of the group if they take no more memory than the result; otherwise each head computes its own.
template <class T>
class InnerProducts {
 public:
  InnerProducts(const ChunkScan<T>& p, const Chunks<T>& chunks)
      : p_(p),
        padded_(padded_steps(p)),
        shared_(p.heads > p.groups && p.groups * padded_ <= p.heads * p.channels),
        all_(shared_ ? p.items * p.groups * p.length * padded_ : 0) {
    if (!shared_) return;
    const int64_t splits = p.length / p.steps + 1;  // tasks per item and group, which share its chunks
    const int64_t tasks = p.items * p.groups * splits;
    parallel_for(tasks, p.threads, double(p.steps) * row_ns(), [&](int64_t at, int64_t stop) {
      const Scratch<T> transposed(workspace());
      for (; at < stop; ++at) {
        const int64_t group = at / splits % p.groups, item = at / splits / p.groups, part = at % splits, n = chunks.count(item);
        for (int64_t k = part * n / splits; k < (part + 1) * n / splits; ++k) {
          const Chunk& chunk = chunks.begin(item)[k];
          compute(item, group, chunk, transposed, at_step(item, group, chunk.begin));
        }
      }
    });
  }
  int64_t padded() const { return padded_; }
  bool shared() const { return shared_; }
  double row_ns() const { return double(p_.states * padded_) / 2 * kMultiplyAddNs<T>; }
  int64_t workspace() const { return p_.states * padded_; }  // size of the workspace `transposed` that `triangle` needs
  // Returns the triangle of one chunk, with rows `padded` apart. If it is not shared, it is computed in `own`.
  const T* triangle(int64_t item, int64_t group, const Chunk& chunk, T* transposed, T* own) const {
    if (shared_) return at_step(item, group, chunk.begin);
    compute(item, group, chunk, transposed, own);
    return own;
  }

 private:
  T* at_step(int64_t item, int64_t group, int64_t time) const { return all_ + ((item * p_.groups + group) * p_.length + time) * padded_; }
  void compute(int64_t item, int64_t group, const Chunk& chunk, T* transposed, T* to) const {
    const int64_t stride = p_.groups * p_.states, first = (item * p_.length + chunk.begin) * stride + group * p_.states;
    transpose_rows(chunk.steps, p_.states, p_.B + first, stride, transposed, padded_);
    multiply_lower(chunk.steps, p_.C + first, stride, in_rows(transposed, p_.states, padded_), to, padded_);
  }

  const ChunkScan<T>& p_;
  int64_t padded_;
  bool shared_;
  Scratch<T> all_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
