// Loops, tiles and lanes of the Chebyshev-Tucker kernels. Compiled once per instruction set.
#include "core/lanes.hpp"
#include "core/parallel.hpp"
#include "cheb/args.hpp"
#include "cheb/formula.hpp"

namespace quatrefoil::cheb {
inline namespace QF_ISA {

// ---------------------------------------------------------------- tiles

constexpr bool kWideFile = kVectorBytes == 64;  // 32 vector registers, elsewhere 16
constexpr int kColumns = kWideFile ? 8 : 4;     // factor columns side by side: 8 x 3 (4 x 2) sums fill the registers
constexpr int kVectors = kWideFile ? 3 : 2;
constexpr int kGradVectors = kWideFile ? 2 : 1;  // the adjoint keeps twice as many sums per vector
constexpr int kRows = 4;                        // rows of the core whose sums over its last axis are formed together
constexpr int kGradRows = 8;                    // rows of an outer product: 8 chains hide the latency of a multiply-add
constexpr int kGradPoints = 96;                 // points of one outer product: a multiple of every ISA's block, and small enough for L2
constexpr double kFlopsPerNs = 2.5;             // of one lane

template <class T>
constexpr int kPoints = kVectors * kLanes<T>;
template <class T>
constexpr double kEps = sizeof(T) == 4 ? 1.1920928955078125e-07 : 2.220446049250313e-16;
// what rank axes are padded to in the adjoint, where columns lie in lanes too
template <class T>
constexpr int64_t kGradColumns = kLanes<T> > kGradRows ? kLanes<T> : kGradRows;

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

template <class T>
void set_zero(T* x, int64_t n) {
  if (n > 0) __builtin_memset(x, 0, std::size_t(n) * sizeof(T));
}

// A Tucker tensor laid out for the kernels. The leading d - 2 axes of the core are one, `lead`; the last two are the matrix that is
// contracted with the lanes; with d = 1 that matrix has one row.
template <class T>
struct Layout {
  int d, leading;                // axes, leading axes
  int64_t columns[kMaxAxes];     // r_k, rounded up
  int64_t rows[kMaxAxes];        // n_k, rounded up to pairs of polynomials
  int64_t table_at[kMaxAxes], column_at[kMaxAxes];  // where an axis starts in the tables, in the factor functions
  int64_t tables = 0, total = 0;  // numbers in all tables, columns of all axes
  int64_t lead = 1, rb = 1, rc, rb_padded;
  double flops = 0;              // of one point's value

  Layout(const TuckerEval<T>& p, int64_t pad) : d(p.d), leading(p.d > 2 ? p.d - 2 : 0) {
    for (int k = 0; k < d; ++k) {
      columns[k] = round_up(p.r[k], pad);
      rows[k] = max<int64_t>(2, round_up(p.n[k], 2));
      table_at[k] = tables;
      column_at[k] = total;
      tables += rows[k] * columns[k];
      total += columns[k];
      flops += 2 * double(rows[k] * columns[k]);
    }
    for (int k = 0; k < leading; ++k) lead *= p.r[k];
    if (d > 1) rb = p.r[d - 2];
    rc = p.r[d - 1];
    rb_padded = round_up(rb, pad);
    flops += 2 * double(lead) * double(rb_padded) * double(rc);
  }
  int64_t core_size() const { return lead * rb_padded * rc; }
};

// One axis: [tile of columns][k][column], zeros beyond n and r.
template <class T>
void pack_factor(const T* U, int64_t n, int64_t r, int64_t rows, int64_t columns, T* table) {
  set_zero(table, rows * columns);
  for (int64_t c0 = 0; c0 < r; c0 += kColumns)
    for (int64_t k = 0; k < n; ++k)
      for (int64_t c = c0; c < min<int64_t>(r, c0 + kColumns); ++c) table[(c0 / kColumns * rows + k) * kColumns + c - c0] = U[k * r + c];
}

template <class T>
void pack_derivative(const T* U, int64_t n, int64_t r, int64_t rows, int64_t columns, T* table) {
  set_zero(table, rows * columns);
  for (int64_t c = 0; c < r; ++c) differentiate(U + c, n, r, table + c / kColumns * rows * kColumns + c % kColumns, kColumns);
}

// The core: [lead][tile of rows b][c][b].
template <class T>
void pack_core(const TuckerEval<T>& p, const Layout<T>& l, T* core) {
  set_zero(core, l.core_size());
  for (int64_t a = 0; a < l.lead; ++a)
    for (int64_t b = 0; b < l.rb; ++b)
      for (int64_t c = 0; c < l.rc; ++c)
        core[(a * l.rb_padded + b / kRows * kRows) * l.rc + c * kRows + b % kRows] = p.core[(a * l.rb + b) * l.rc + c];
}

template <class T>
struct Packed : Layout<T> {
  Scratch<T> table, core;

  Packed(const TuckerEval<T>& p, int64_t pad) : Layout<T>(p, pad), table(this->tables), core(this->core_size()) {
    for (int k = 0; k < p.d; ++k)
      pack_factor(p.factors[k], p.n[k], p.r[k], this->rows[k], this->columns[k], table + this->table_at[k]);
    pack_core(p, *this, core);
  }
};

// ---------------------------------------------------------------- points

// Points of one block on [-1, 1]: u = 2(|t| - 1) and the sign of t, axis by axis. Lanes without a point repeat the last one.
// Returns the index within X of the first bad coordinate, or -1.
template <class T, int points>
int64_t map_points(const TuckerEval<T>& p, const Interval* intervals, int64_t first, T* u, T* sign) {
  constexpr int W = kLanes<double>;
  using D = Lanes<double>;
  using F = Lanes<T, W>;
  const int64_t count = min<int64_t>(points, p.P - first);
  bool all_good = true;
  for (int k = 0; k < p.d; ++k) {
    alignas(64) double x[points];
    const T* at = p.X + first * p.d + k;
    for (int64_t i = 0; i < points; ++i) x[i] = double(at[min(i, count - 1) * p.d]);
    const double far = 1 + intervals[k].slack;
    auto good = D{} == D{};
    for (int i = 0; i < points; i += W) {
      D t = to_reference(load<D>(x + i), intervals[k]);
      good &= (t <= far) & (t >= -far);
      t = lower(higher(t, D{} - 1), D{} + 1);
      const D s = t < 0.0 ? D{} - 1 : D{} + 1;
      store<F>(u + k * points + i, __builtin_convertvector(2 * (t * s - 1), F));
      store<F>(sign + k * points + i, __builtin_convertvector(s, F));
    }
    for (int i = 0; i < W; ++i) all_good = all_good && good[i];
  }
  if (all_good) return -1;
  for (int64_t i = 0; i < count * p.d; ++i) {
    const double t = to_reference(double(p.X[first * p.d + i]), intervals[i % p.d]), far = 1 + intervals[i % p.d].slack;
    if (!(t <= far && t >= -far)) return first * p.d + i;
  }
  return -1;
}

template <class T>
void map_intervals(const TuckerEval<T>& p, Interval* intervals) {
  for (int k = 0; k < p.d; ++k) intervals[k] = interval(p.lo[k], p.hi[k], kEps<T>);
}

// The lowest index that any block found, whoever comes first.
void note_bad(int64_t& lowest, int64_t found) {
  int64_t known = __atomic_load_n(&lowest, __ATOMIC_RELAXED);
  while ((known < 0 || found < known) && !__atomic_compare_exchange_n(&lowest, &known, found, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

// ---------------------------------------------------------------- value

// README (2), (3): all factor functions of one axis at kLanes x vectors points. Reads the table once; polynomials and sums stay in
// registers. Function c at the points is out[c * stride ...].
template <class T, int vectors>
void factor_functions(const T* table, int64_t rows, int64_t columns, const T* u, const T* sign, int64_t stride, T* out) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int64_t c0 = 0; c0 < columns; c0 += kColumns) {
    V sums[kColumns][vectors] = {}, s[vectors];
    Polynomial<V> polynomial[vectors];
    for (int v = 0; v < vectors; ++v) {
      polynomial[v] = Polynomial<V>::first(load<V>(u + v * W));
      s[v] = load<V>(sign + v * W);
    }
    for (int64_t k = 0; k < rows; k += 2, table += 2 * kColumns) {
      for (int c = 0; c < kColumns; ++c)
        for (int v = 0; v < vectors; ++v) sums[c][v] += polynomial[v].value * table[c];
      V odd[vectors];
      for (int v = 0; v < vectors; ++v) {
        polynomial[v].advance();
        odd[v] = polynomial[v].value * s[v];  // T_k(-t) = -T_k(t)
      }
      for (int c = 0; c < kColumns; ++c)
        for (int v = 0; v < vectors; ++v) sums[c][v] += odd[v] * table[kColumns + c];
      for (int v = 0; v < vectors; ++v) polynomial[v].advance();
    }
    for (int c = 0; c < kColumns; ++c)
      for (int v = 0; v < vectors; ++v) store(out + (c0 + c) * stride + v * W, sums[c][v]);
  }
}

// The multi-index of the leading axes, and products of their factor functions.
struct Odometer {
  int64_t at[kMaxAxes] = {};
  void advance(const int64_t* r, int axes) {
    for (int k = axes - 1; k >= 0; --k) {
      if (++at[k] < r[k]) return;
      at[k] = 0;
    }
  }
};

// README (4): the product of the leading axes' functions, all but the one of axis `without`, times `start`.
template <class T, class V>
QF_HD V lead_product(const Layout<T>& l, const Odometer& index, const T* functions, int64_t stride, int without, V start) {
  for (int k = 0; k < l.leading; ++k)
    if (k != without) start *= load<V>(functions + (l.column_at[k] + index.at[k]) * stride);
  return start;
}

// README (4): four sums over the core's last axis at once, folded at once into the other axes: nothing of size r^2 is stored.
// Reads the core once; the factor functions of kPoints points are in L1.
template <class T>
void contract(const Packed<T>& g, const int64_t* r, const T* functions, const T* rows, T* f) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, vectors = kVectors, stride = kPoints<T>;
  const T *last = functions + g.column_at[g.d - 1] * stride, *core = g.core;
  V total[vectors] = {};
  Odometer index;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
    V partial[vectors] = {};
    for (int64_t b = 0; b < g.rb_padded; b += kRows) {
      V t[kRows][vectors] = {};
      for (int64_t c = 0; c < g.rc; ++c, core += kRows)
        for (int v = 0; v < vectors; ++v) {
          const V x = load<V>(last + c * stride + v * W);
          for (int i = 0; i < kRows; ++i) t[i][v] += x * core[i];
        }
      for (int i = 0; i < kRows; ++i)
        for (int v = 0; v < vectors; ++v) partial[v] += t[i][v] * load<V>(rows + (b + i) * stride + v * W);
    }
    for (int v = 0; v < vectors; ++v) total[v] += lead_product(g, index, functions + v * W, stride, -1, partial[v]);
  }
  for (int v = 0; v < vectors; ++v) store(f + v * W, total[v]);
}

// The functions that stand for the rows of the last matrix: axis d - 2, or with d = 1 a first row of ones.
template <class T>
const T* row_functions(const Layout<T>& l, T* functions, T* ones, int64_t stride) {
  if (l.d > 1) return functions + l.column_at[l.d - 2] * stride;
  set_zero(ones, l.rb_padded * stride);
  for (int64_t i = 0; i < stride; ++i) ones[i] = 1;
  return ones;
}

// Per point: reads d coordinates, writes one value. Tables and core are read from cache once per kPoints points.
template <class T>
int64_t tucker_eval(const TuckerEval<T>& p) {
  constexpr int points = kPoints<T>;
  if (p.P == 0) return -1;
  const Packed<T> g(p, kColumns);
  Interval intervals[kMaxAxes];
  map_intervals(p, intervals);
  int64_t bad = -1;
  const double ns = g.flops / (kFlopsPerNs * kLanes<T>)*points + 50;
  parallel_for((p.P + points - 1) / points, p.threads, ns, [&](int64_t begin, int64_t end) {
    Scratch<T> work((g.total + 2 * p.d + (p.d == 1 ? g.rb_padded : 0)) * points);
    T *functions = work, *u = functions + g.total * points, *sign = u + p.d * points, *ones = sign + p.d * points;
    const T* rows = row_functions(g, functions, ones, points);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * points, left = min<int64_t>(points, p.P - first);
      const int64_t found = map_points<T, points>(p, intervals, first, u, sign);
      if (found >= 0) note_bad(bad, found);
      for (int k = 0; k < p.d; ++k)
        factor_functions<T, kVectors>(g.table + g.table_at[k], g.rows[k], g.columns[k], u + k * points, sign + k * points, points,
                                      functions + g.column_at[k] * points);
      alignas(64) T f[points];
      contract(g, p.r, functions, rows, f);
      __builtin_memcpy(p.f + first, f, std::size_t(left) * sizeof(T));
    }
  });
  return bad;
}

// ---------------------------------------------------------------- adjoint

// The buffers of one thread: kGradPoints points, column after column.
template <class T>
struct GradWork {
  T *functions, *derivatives, *bar;  // F_k, F_k', and the gradient of F_k: [total][points]
  T *rows, *rows_bar;                // those of axis d - 2, or a stand-in
  T *u, *sign;                       // [d][points]
  T *polynomials;                    // [n][points]
  T *across;                         // [points][columns], a transposed axis
  T *weighted;                       // the same times a weight per point
};

// README (6): gradients of the factor functions at kLanes x kGradVectors points, but for the factor grad. Reads the core once; each of
// its numbers serves both the sum over c and the gradient of c.
template <class T>
void contract_adjoint(const Packed<T>& g, const int64_t* r, const GradWork<T>& w, int64_t at) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, vectors = kGradVectors, stride = kGradPoints;
  const T *functions = w.functions + at, *rows = w.rows + at, *core = g.core;
  T *bar = w.bar + at, *rows_bar = w.rows_bar + at;
  const T* last = functions + g.column_at[g.d - 1] * stride;
  T* last_bar = bar + g.column_at[g.d - 1] * stride;
  Odometer index;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(r, g.leading)) {
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

// T_k at the points of a block, k < rows: [rows][points].
template <class T>
void tabulate(const T* u, const T* sign, int64_t rows, T* out) {
  using V = Lanes<T>;
  for (int64_t i = 0; i < kGradPoints; i += kLanes<T>) {
    Polynomial<V> polynomial = Polynomial<V>::first(load<V>(u + i));
    const V s = load<V>(sign + i);
    for (int64_t k = 0; k < rows; ++k, polynomial.advance()) store(out + k * kGradPoints + i, k % 2 ? polynomial.value * s : polynomial.value);
  }
}

// [columns][points] -> [points][columns]
template <class T>
void turn(const T* in, int64_t columns, T* out) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int64_t c = 0; c < columns; c += W)
    for (int64_t i = 0; i < kGradPoints; i += W) {
      V square[W];
      for (int j = 0; j < W; ++j) square[j] = load<V>(in + (c + j) * kGradPoints + i);
      transpose(square);
      for (int j = 0; j < W; ++j) store(out + (i + j) * columns + c, square[j]);
    }
}

// sums[m][c] += sum over the points of left[m][point] right[point][c], in the order of the points. Reads and writes sums once.
template <class T>
void add_outer(const T* left, int64_t rows, const T* right, int64_t columns, T* sums) {
  using V = Lanes<T>;
  for (int64_t m = 0; m < rows; m += kGradRows)
    for (int64_t c = 0; c < columns; c += kLanes<T>) {
      V s[kGradRows] = {};
      const T* l = left + m * kGradPoints;
      for (int64_t i = 0; i < kGradPoints; ++i) {
        const V x = load<V>(right + i * columns + c);
        for (int j = 0; j < kGradRows; ++j) s[j] += x * l[j * kGradPoints + i];
      }
      for (int j = 0; j < kGradRows; ++j) store(sums + (m + j) * columns + c, load<V>(sums + (m + j) * columns + c) + s[j]);
    }
}

// The partial sums of one chunk of points: dcore as [lead][b][c] and the dfactors as [k][c], axes padded.
template <class T>
struct Sums {
  int64_t core, factor_at[kMaxAxes], total;
  explicit Sums(const Layout<T>& l) : core(l.lead * l.rb_padded * l.columns[l.d - 1]), total(core) {
    for (int k = 0; k < l.d; ++k) {
      factor_at[k] = total;
      total += round_up(l.rows[k], kGradRows) * l.columns[k];
    }
  }
};

// README (7): dcore and dfactors of one block of points, added to the chunk's sums.
template <class T>
void add_block(const Packed<T>& g, const TuckerEval<T>& p, const Sums<T>& layout, const GradWork<T>& w, const T* grad, T* sums) {
  using V = Lanes<T>;
  for (int k = 0; k < g.d; ++k) {
    const int64_t n = round_up(g.rows[k], kGradRows);
    tabulate(w.u + k * kGradPoints, w.sign + k * kGradPoints, n, w.polynomials);
    turn(w.bar + g.column_at[k] * kGradPoints, g.columns[k], w.across);
    add_outer(w.polynomials, n, w.across, g.columns[k], sums + layout.factor_at[k]);
  }
  const int64_t columns = g.columns[g.d - 1];
  turn(w.functions + g.column_at[g.d - 1] * kGradPoints, columns, w.across);
  Odometer index;
  for (int64_t a = 0; a < g.lead; ++a, index.advance(p.r, g.leading)) {
    for (int64_t i = 0; i < kGradPoints; ++i) {
      T weight = grad[i];
      for (int k = 0; k < g.leading; ++k) weight *= w.functions[(g.column_at[k] + index.at[k]) * kGradPoints + i];
      for (int64_t c = 0; c < columns; c += kLanes<T>) store(w.weighted + i * columns + c, load<V>(w.across + i * columns + c) * weight);
    }
    add_outer(w.rows, g.rb_padded, w.weighted, columns, sums + a * g.rb_padded * columns);
  }
}

// dX of one block, README (8); scales `bar` by grad on the way.
template <class T>
void coordinate_gradients(const Packed<T>& g, const TuckerEval<T>& p, const GradWork<T>& w, const T* grad, int64_t left, T* dX) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  for (int k = 0; k < g.d; ++k) {
    const T scale = T(2 / (p.hi[k] - p.lo[k]));
    for (int64_t i = 0; i < kGradPoints; i += W) {
      const V weight = load<V>(grad + i);
      V sum{};
      for (int64_t c = g.column_at[k]; c < g.column_at[k] + g.columns[k]; ++c) {
        const int64_t j = c * kGradPoints + i;
        const V bar = load<V>(w.bar + j) * weight;
        store(w.bar + j, bar);
        sum += bar * load<V>(w.derivatives + j);
      }
      sum *= scale;
      for (int64_t j = 0; j < min<int64_t>(W, left - i); ++j) dX[(i + j) * g.d + k] = sum[j];
    }
  }
}

// What all chunks share.
template <class T>
struct GradPlan {
  Packed<T> g;
  Sums<T> sums;
  Scratch<T> derivative;
  Interval intervals[kMaxAxes];
  int64_t widest = 0, longest = 0;

  explicit GradPlan(const TuckerEval<T>& p) : g(p, kGradColumns<T>), sums(g), derivative(g.tables) {
    map_intervals(p, intervals);
    for (int k = 0; k < p.d; ++k) {
      pack_derivative(p.factors[k], p.n[k], p.r[k], g.rows[k], g.columns[k], derivative + g.table_at[k]);
      widest = max(widest, g.columns[k]);
      longest = max(longest, round_up(g.rows[k], kGradRows));
    }
  }
  int64_t work_size() const { return kGradPoints * (3 * g.total + 2 * g.rb_padded + 2 * g.d + longest + 2 * widest); }
  GradWork<T> divide(T* at) const {
    GradWork<T> w{};
    const auto take = [&](int64_t n) {
      T* start = at;
      at += n * kGradPoints;
      return start;
    };
    w.functions = take(g.total), w.derivatives = take(g.total), w.bar = take(g.total);
    w.u = take(g.d), w.sign = take(g.d), w.polynomials = take(longest), w.across = take(widest), w.weighted = take(widest);
    T* ones = take(g.rb_padded);
    w.rows = const_cast<T*>(row_functions(g, w.functions, ones, kGradPoints));
    w.rows_bar = g.d > 1 ? w.bar + g.column_at[g.d - 2] * kGradPoints : take(g.rb_padded);
    return w;
  }
};

// One block of kGradPoints points: dX is written, dcore and dfactors are added to the chunk's sums.
template <class T>
int64_t adjoint_block(const GradPlan<T>& plan, const TuckerEvalVjp<T>& q, const GradWork<T>& w, int64_t block, T* sums) {
  const TuckerEval<T>& p = q.forward;
  const Packed<T>& g = plan.g;
  const int64_t first = block * kGradPoints, left = min<int64_t>(kGradPoints, p.P - first);
  alignas(64) T grad[kGradPoints] = {};  // 0 where there is no point: it adds nothing
  __builtin_memcpy(grad, q.grad + first, std::size_t(left) * sizeof(T));
  const int64_t bad = map_points<T, kGradPoints>(p, plan.intervals, first, w.u, w.sign);
  for (int k = 0; k < g.d; ++k)
    for (int64_t i = 0; i < kGradPoints; i += kPoints<T>) {
      const T *u = w.u + k * kGradPoints + i, *sign = w.sign + k * kGradPoints + i;
      const int64_t to = g.column_at[k] * kGradPoints + i;
      factor_functions<T, kVectors>(g.table + g.table_at[k], g.rows[k], g.columns[k], u, sign, kGradPoints, w.functions + to);
      factor_functions<T, kVectors>(plan.derivative + g.table_at[k], g.rows[k], g.columns[k], u, sign, kGradPoints, w.derivatives + to);
    }
  set_zero(w.bar, g.total * kGradPoints);
  if (g.d == 1) set_zero(w.rows_bar, g.rb_padded * kGradPoints);
  for (int64_t i = 0; i < kGradPoints; i += kGradVectors * kLanes<T>) contract_adjoint(g, p.r, w, i);
  coordinate_gradients(g, p, w, grad, left, q.dX + first * p.d);
  add_block(g, p, plan.sums, w, grad, sums);
  return bad;
}

constexpr int64_t kMaxChunks = 64;              // independent partial sums
constexpr int64_t kChunkBytes = int64_t(16) << 20;  // all of them together
constexpr double kRoundNs = 4e6;                // of one chunk between two looks at the interrupt flag

// The chunks' sums in their order, in double precision.
template <class T>
void collect(const GradPlan<T>& plan, const TuckerEvalVjp<T>& q, const T* sums, int64_t chunks) {
  const TuckerEval<T>& p = q.forward;
  const Packed<T>& g = plan.g;
  const auto add = [&](int64_t at, int64_t n, T* to) {
    for (int64_t i = 0; i < n; ++i) {
      double s = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) s += double(sums[chunk * plan.sums.total + at + i]);
      to[i] = T(s);
    }
  };
  for (int64_t a = 0; a < g.lead; ++a)
    for (int64_t b = 0; b < g.rb; ++b) add((a * g.rb_padded + b) * g.columns[g.d - 1], g.rc, q.dcore + (a * g.rb + b) * g.rc);
  for (int k = 0; k < g.d; ++k)
    for (int64_t i = 0; i < p.n[k]; ++i) add(plan.sums.factor_at[k] + i * g.columns[k], p.r[k], q.dfactors[k] + i * p.r[k]);
}

// Per block of points: reads X and grad, writes dX, reads and writes one chunk's sums. Which chunk a block belongs to, and the order
// within it, follow from P and the sizes alone: the same bits for any number of threads.
template <class T>
int64_t tucker_eval_vjp(const TuckerEvalVjp<T>& q) {
  const TuckerEval<T>& p = q.forward;
  const GradPlan<T> plan(p);
  const int64_t blocks = (p.P + kGradPoints - 1) / kGradPoints, size = plan.sums.total;
  const int64_t affordable = max<int64_t>(1, kChunkBytes / (size * int64_t(sizeof(T))));
  const int64_t chunks = min(min(kMaxChunks, affordable), blocks);
  Scratch<T> sums(chunks * size);
  set_zero<T>(sums, chunks * size);
  const double ns = 3 * plan.g.flops / (kFlopsPerNs * kLanes<T>)*kGradPoints + 1000;
  const int64_t step = max<int64_t>(1, int64_t(kRoundNs / ns));  // blocks of a chunk in one round
  int64_t bad = -1;
  for (int64_t round = 0; round * step * chunks < blocks; ++round)
    parallel_for(chunks, p.threads, ns * double(step), [&](int64_t begin, int64_t end) {
      Scratch<T> work(plan.work_size());
      const GradWork<T> w = plan.divide(work);
      for (int64_t chunk = begin; chunk < end; ++chunk)
        for (int64_t i = round * step; i < (round + 1) * step; ++i) {
          const int64_t block = i * chunks + chunk;
          if (block >= blocks) break;
          const int64_t found = adjoint_block(plan, q, w, block, sums + chunk * size);
          if (found >= 0) note_bad(bad, found);
        }
    });
  collect(plan, q, sums, chunks);
  return bad;
}

extern const Table kernels;
const Table kernels = {{tucker_eval<float>, tucker_eval_vjp<float>}, {tucker_eval<double>, tucker_eval_vjp<double>}};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb
