// The adjoint of scattered evaluation: gradients of core, factors and points.
#pragma once
#include "cheb/scattered/factors.hpp"
#include "core/lanes/lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/partial_sums.hpp"

namespace quatrefoil::cheb::scattered {
inline namespace QF_ISA {

// The buffers of one thread for kAdjointPoints points.
template <class T>
struct AdjointWork {
  T *functions, *derivatives, *bar;  // the factor functions F_k, F_k', and the gradient of F_k: [total][points]
  T *rows, *rows_bar;                // the functions of axis d - 2 and their gradient; for d = 1, a row of ones
  T *u, *sign;                       // [d][points]
  T* polynomials;                    // [n][points]
  T* across;                         // [points][columns], a transposed axis
  T* weighted;                       // [points][columns], `across` times a weight per point
};

// README (6): computes gradients of the factor functions at kLanes x kAdjointVectors points, not yet multiplied by grad. Reads the core
// once; each element is used for the sum over c and for the gradient of the last axis's functions.
template <class T>
void contract_adjoint(const Packed<T>& g, const int64_t* r, const AdjointWork<T>& w, int64_t at) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, vectors = kAdjointVectors, stride = kAdjointPoints;
  const T *functions = w.functions + at, *rows = w.rows + at, *core = g.core;
  T *bar = w.bar + at, *rows_bar = w.rows_bar + at;
  const T* last = functions + g.column_at[g.d - 1] * stride;
  T* last_bar = bar + g.column_at[g.d - 1] * stride;
  Odometer index;
  InterruptCheck check;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    check(2 * matrix_ns(g, kLanes<T> * kAdjointVectors));
    V weight[vectors], partial[vectors] = {};
    for (int v = 0; v < vectors; ++v) weight[v] = lead_product(g, index, functions + v * W, stride, -1, V{} + 1);
    for (int64_t b = 0; b < g.rb_padded; b += kRows) {
      V t[kRows][vectors] = {}, row[kRows][vectors];
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) row[i][v] = load<V>(rows + (b + i) * stride + v * W) * weight[v];
      for (int64_t c = 0; c < g.rc; ++c, core += kRows)
        for (int v = 0; v < vectors; ++v) {
          const V x = load<V>(last + c * stride + v * W);
          V x_bar = load<V>(last_bar + c * stride + v * W);
          for (int i = 0; i < kRows; ++i) {
            t[i][v] += x * core[i];
            x_bar += row[i][v] * core[i];
          }
          store(last_bar + c * stride + v * W, x_bar);
        }
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) {
          const int64_t j = (b + i) * stride + v * W;
          partial[v] += t[i][v] * load<V>(rows + j);
          store(rows_bar + j, load<V>(rows_bar + j) + t[i][v] * weight[v]);
        }
    }
    for (int k = 0; k < g.leading; ++k)
      for (int v = 0; v < vectors; ++v) {
        T* to = bar + (g.column_at[k] + index.at[k]) * stride + v * W;
        store(to, load<V>(to) + lead_product(g, index, functions + v * W, stride, k, partial[v]));
      }
  }
}

// Calls f(V{}) with the lane type for rows of `columns` elements, a multiple of kAdjointColumns. V is a whole vector if `columns` is a
// multiple of its width, otherwise it has kAdjointColumns lanes.
template <class T, class F>
void with_column_lanes(int64_t columns, F&& f) {
  if (kLanes<T> > kAdjointColumns && columns % kLanes<T>)
    f(Lanes<T, min(kLanes<T>, kAdjointColumns)>{});
  else
    f(Lanes<T>{});
}

// [columns][points] -> [points][columns]
template <class T>
void transpose_functions(const T* in, int64_t columns, T* out) {
  with_column_lanes<T>(columns, [&](auto lane) {
    using V = decltype(lane);
    constexpr int W = kWidth<V>;
    for (int64_t c = 0; c < columns; c += W)
      for (int64_t i = 0; i < kAdjointPoints; i += W) {
        V tile[W];
        for (int j = 0; j < W; ++j) tile[j] = load<V>(in + (c + j) * kAdjointPoints + i);
        transpose(tile);
        for (int j = 0; j < W; ++j) store(out + (i + j) * columns + c, tile[j]);
      }
  });
}

// sums[m][c] += sum of left[m][point] right[point][c] over the points in order. Reads and writes sums once.
template <class T>
void add_outer(const T* left, int64_t rows, const T* right, int64_t columns, T* sums) {
  with_column_lanes<T>(columns, [&](auto lane) {
    using V = decltype(lane);
    InterruptCheck check;
    for (int64_t m = 0; m < rows; m += kAdjointRows, check(double(kAdjointRows * columns * kAdjointPoints) * kMultiplyAddNs<T>))
      for (int64_t c = 0; c < columns; c += kWidth<V>) {
        V s[kAdjointRows] = {};
        const T* l = left + m * kAdjointPoints;
        for (int64_t i = 0; i < kAdjointPoints; ++i) {
          const V x = load<V>(right + i * columns + c);
          for (int j = 0; j < kAdjointRows; ++j) s[j] += x * l[j * kAdjointPoints + i];
        }
        for (int j = 0; j < kAdjointRows; ++j) store(sums + (m + j) * columns + c, load<V>(sums + (m + j) * columns + c) + s[j]);
      }
  });
}

// README (7): adds dcore of one block of weighted points, for leading indices [begin, end), to a chunk's sums.
template <class T>
void add_core(const Layout<T>& l, const int64_t* r, const T* functions, const T* rows, const T* weights, T* across, T* weighted,
              int64_t begin, int64_t end, T* sums) {
  constexpr int64_t points = kAdjointPoints;
  const int64_t columns = l.columns[l.d - 1];
  transpose_functions(functions + l.column_at[l.d - 1] * points, columns, across);
  for (int64_t a = begin; a < end; ++a) {
    int64_t at[kMaxAxes], rest = a;
    for (int k = l.leading - 1; k >= 0; --k) at[k] = rest % r[k], rest /= r[k];
    for (int64_t i = 0; i < points; ++i) {
      T weight = weights[i];
      for (int k = 0; k < l.leading; ++k) weight *= functions[(l.column_at[k] + at[k]) * points + i];
      for (int64_t c = 0; c < columns; ++c) weighted[i * columns + c] = across[i * columns + c] * weight;
    }
    add_outer(rows, l.rb_padded, weighted, columns, sums + a * l.rb_padded * columns);
  }
}

constexpr int64_t kMaxChunks = 64;                  // independent partial sums
constexpr int64_t kChunkBytes = int64_t(16) << 20;  // maximum bytes of all partial sums together, unless one is larger
constexpr double kRoundNs = 4e6;                    // work on one chunk between two checks for interrupts

// The number of chunks of points, each with `size` sums.
template <class T>
int64_t chunks_of(int64_t blocks, int64_t size) {
  return min(min(kMaxChunks, max<int64_t>(1, kChunkBytes / max<int64_t>(1, size * int64_t(sizeof(T))))), blocks);
}

// Calls f(block, chunk, part, work) for all blocks of each chunk in order. f returns the first invalid coordinate or -1. Chunk i consists
// of the blocks b with b % chunks == i. Tasks are parts of chunks, and `ns` is the time of a block. Only sizes determine the order of a
// chunk's sums, so results are bitwise the same for any number of threads.
template <class T, class F>
int64_t for_chunks(int64_t blocks, int64_t chunks, int64_t parts, int threads, double ns, int64_t work_size, F&& f) {
  const int64_t step = max<int64_t>(1, int64_t(kRoundNs / ns));  // blocks of a chunk per round
  int64_t bad = -1;
  for (int64_t round = 0; round * step * chunks < blocks; ++round)
    parallel_for(chunks * parts, threads, ns * double(step), [&](int64_t begin, int64_t end) {
      const Scratch<T> work(work_size);
      for (int64_t task = begin; task < end; ++task)
        for (int64_t i = round * step; i < (round + 1) * step; ++i) {
          const int64_t block = i * chunks + task / parts;
          if (block >= blocks) break;
          const int64_t invalid = f(block, task / parts, task % parts, static_cast<T*>(work));
          if (invalid >= 0) note_first(bad, invalid);
        }
    });
  return bad;
}

// The partial sums of one chunk of points: dcore as [lead][b][c] and the dfactors as [k][c], axes padded.
template <class T>
struct Sums {
  int64_t core, factor_at[kMaxAxes], total;
  explicit Sums(const Layout<T>& l) : core(l.lead * l.rb_padded * l.columns[l.d - 1]), total(core) {
    for (int k = 0; k < l.d; ++k) {
      factor_at[k] = total;
      total += round_up(l.rows[k], kAdjointRows) * l.columns[k];
    }
  }
};

// README (7): adds dfactors of one block of points to the chunk's sums.
template <class T>
void add_factors(const Packed<T>& g, const Sums<T>& layout, const AdjointWork<T>& w, T* sums) {
  for (int k = 0; k < g.d; ++k) {
    const int64_t n = round_up(g.rows[k], kAdjointRows);
    tabulate<T, kAdjointPoints>(w.u + k * kAdjointPoints, w.sign + k * kAdjointPoints, n, w.polynomials);
    transpose_functions(w.bar + g.column_at[k] * kAdjointPoints, g.columns[k], w.across);
    add_outer(w.polynomials, n, w.across, g.columns[k], sums + layout.factor_at[k]);
  }
}

// README (8): computes dX of one block; also multiplies `bar` by grad.
template <class T>
void coordinate_gradients(const Packed<T>& g, const TuckerEval<T>& p, const AdjointWork<T>& w, const T* grad, int64_t left, T* dX) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int k = 0; k < g.d; ++k) {
    const T scale = T(2 / (p.hi[k] - p.lo[k]));
    for (int64_t i = 0; i < kAdjointPoints; i += W) {
      const V weight = load<V>(grad + i);
      V sum{};
      for (int64_t c = g.column_at[k]; c < g.column_at[k] + g.columns[k]; ++c) {
        const int64_t j = c * kAdjointPoints + i;
        const V bar = load<V>(w.bar + j) * weight;
        store(w.bar + j, bar);
        sum += bar * load<V>(w.derivatives + j);
      }
      sum *= scale;
      for (int64_t j = 0; j < min<int64_t>(W, left - i); ++j) dX[(i + j) * g.d + k] = sum[j];
    }
  }
}

// Data that all chunks share.
template <class T>
struct AdjointPlan {
  Packed<T> g;
  Sums<T> sums;
  Scratch<T> slopes;
  Interval intervals[kMaxAxes];
  int64_t widest = 0, longest = 0;

  explicit AdjointPlan(const TuckerEval<T>& p) : g(p, kAdjointColumns), sums(g), slopes(g.tables) {
    map_intervals(p, intervals);
    pack_slopes<T>(g, slopes);
    for (int k = 0; k < p.d; ++k) {
      widest = max(widest, g.columns[k]);
      longest = max(longest, round_up(g.rows[k], kAdjointRows));
    }
  }
  int64_t work_size() const { return kAdjointPoints * (3 * g.total + 2 * g.rb_padded + 2 * g.d + longest + 2 * widest); }
  AdjointWork<T> divide(T* at) const {
    AdjointWork<T> w{};
    const auto take = [&](int64_t n) {
      T* start = at;
      at += n * kAdjointPoints;
      return start;
    };
    w.functions = take(g.total), w.derivatives = take(g.total), w.bar = take(g.total);
    w.u = take(g.d), w.sign = take(g.d), w.polynomials = take(longest), w.across = take(widest), w.weighted = take(widest);
    T* ones = take(g.rb_padded);
    w.rows = const_cast<T*>(row_functions(g, w.functions, ones, kAdjointPoints));
    w.rows_bar = g.d > 1 ? w.bar + g.column_at[g.d - 2] * kAdjointPoints : take(g.rb_padded);
    return w;
  }
};

// Writes dX of one block of kAdjointPoints points, and adds its dcore and dfactors to the chunk's sums.
template <class T>
int64_t adjoint_block(const AdjointPlan<T>& plan, const TuckerEvalAdjoint<T>& q, const AdjointWork<T>& w, int64_t block, T* sums) {
  const TuckerEval<T>& p = q.forward;
  const Packed<T>& g = plan.g;
  const int64_t first = block * kAdjointPoints, left = min<int64_t>(kAdjointPoints, p.P - first);
  alignas(64) T grad[kAdjointPoints] = {};  // 0 for missing points, so that they add nothing
  __builtin_memcpy(grad, q.grad + first, std::size_t(left) * sizeof(T));
  const int64_t bad = map_points<T, kAdjointPoints>(p, plan.intervals, first, w.u, w.sign);
  for (int k = 0; k < g.d; ++k)
    for (int64_t i = 0; i < kAdjointPoints; i += kPoints<T>) {
      const T *u = w.u + k * kAdjointPoints + i, *sign = w.sign + k * kAdjointPoints + i;
      const int64_t to = g.column_at[k] * kAdjointPoints + i;
      factor_functions<T, kVectors>(g.table + g.table_at[k], g.rows[k], g.columns[k], u, sign, kAdjointPoints, w.functions + to);
      factor_functions<T, kVectors, 1>(plan.slopes + g.table_at[k], g.rows[k], g.columns[k], u, sign, kAdjointPoints, w.derivatives + to);
    }
  set_zero(w.bar, g.total * kAdjointPoints);
  if (g.d == 1) set_zero(w.rows_bar, g.rb_padded * kAdjointPoints);
  for (int64_t i = 0; i < kAdjointPoints; i += kAdjointVectors * kLanes<T>) contract_adjoint(g, p.r, w, i);
  coordinate_gradients(g, p, w, grad, left, q.dX + first * p.d);
  add_factors(g, plan.sums, w, sums);
  add_core(g, p.r, w.functions, w.rows, grad, w.across, w.weighted, 0, g.lead, sums);
  return bad;
}

// Adds the chunks' sums in order, in double precision.
template <class T>
void collect(const AdjointPlan<T>& plan, const TuckerEvalAdjoint<T>& q, const T* sums, int64_t chunks) {
  const TuckerEval<T>& p = q.forward;
  const Packed<T>& g = plan.g;
  Scratch<double> row(plan.widest);
  const auto add = [&](int64_t at, int64_t n, T* to) {
    set_zero<double>(row, n);
    add_parts<T, double>(chunks, sums + at, plan.sums.total, n, row);
    for (int64_t i = 0; i < n; ++i) to[i] = T(row[i]);
  };
  for (int64_t a = 0; a < g.lead; ++a)
    for (int64_t b = 0; b < g.rb; ++b) add((a * g.rb_padded + b) * g.columns[g.d - 1], g.rc, q.dcore + (a * g.rb + b) * g.rc);
  for (int k = 0; k < g.d; ++k)
    for (int64_t i = 0; i < p.n[k]; ++i) add(plan.sums.factor_at[k] + i * g.columns[k], p.r[k], q.dfactors[k] + i * p.r[k]);
}

// Per block of points: reads X and grad, writes dX, reads and writes one chunk's sums.
template <class T>
int64_t tucker_eval_adjoint(const TuckerEvalAdjoint<T>& q) {
  const TuckerEval<T>& p = q.forward;
  const AdjointPlan<T> plan(p);
  const int64_t blocks = (p.P + kAdjointPoints - 1) / kAdjointPoints, size = plan.sums.total, chunks = chunks_of<T>(blocks, size);
  Scratch<T> sums(chunks * size);
  set_zero<T>(sums, chunks * size);
  const double ns = 3 * plan.g.multiply_adds * kMultiplyAddNs<T> * kAdjointPoints + 1000;
  const int64_t bad =
      for_chunks<T>(blocks, chunks, 1, p.threads, ns, plan.work_size(), [&](int64_t block, int64_t chunk, int64_t, T* work) {
        return adjoint_block(plan, q, plan.divide(work), block, sums + chunk * size);
      });
  collect<T>(plan, q, sums, chunks);
  return bad;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::scattered
