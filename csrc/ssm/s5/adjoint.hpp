// The gradients of S5 (README (3)-(6)). The states are recomputed: first forwards, storing only the state before each segment, then segment
// by segment in the backward pass.
#pragma once
#include "ssm/s5/layer.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

// A scan of some of the states backwards in time. Its rows go from the latest to the earliest, `step` apart.
template <class T>
struct Retreat {
  int64_t P, count, step;
  const T* lambda;      // real, then imaginary parts
  T* r;                 // the latest row; replaced by mu
  const T* x;           // the states one row before it
  const T* x_earliest;  // the states before the earliest row
  T* mu;                // real and imaginary parts: on entry after the latest row, on return at the earliest
  double* dlambda;      // real, then imaginary parts of the sums
};

// README (3), (5) for NV vectors of states. Reads r and x once, writes mu once.
template <class V, int NV, class T>
void retreat(const Retreat<T>& s) {
  Parts<V, NV> lambda, mu, x, r, sum{};
  lambda.load(s.lambda, s.P);
  mu.load(s.mu, s.P);
  T* row = s.r;
  const T* before = s.x;
  for (int64_t i = 0; i < s.count; ++i, row += s.step, before += s.step) {
    r.load(row, s.P);
    x.load(i + 1 < s.count ? before : s.x_earliest, s.P);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      mu.v[v] = scan::step(conjugate(lambda.v[v]), mu.v[v], r.v[v]);
      sum.v[v] = scan::step(conjugate(x.v[v]), mu.v[v], sum.v[v]);
    }
    mu.store(row, s.P);
  }
  mu.store(s.mu, s.P);
  T parts[2][NV * kWidth<V>];
  for (int v = 0; v < NV; ++v) store_complex(parts[0] + v * kWidth<V>, parts[1] + v * kWidth<V>, sum.v[v]);
  for (int i = 0; i < NV * kWidth<V>; ++i) {
    s.dlambda[i] += double(parts[0][i]);
    s.dlambda[s.P + i] += double(parts[1][i]);
  }
}

// The packed matrices B and C of the adjoint's products.
template <class T>
struct AdjointOperands {
  Scratch<T> b, c;  // packed (2P x H), and (H x 2P) per direction

  explicit AdjointOperands(const Apply<T>& p, const Operands<T>& w) : b(w.out), c(2 * w.in) {
    const int64_t P = p.P, H = p.H, directions = p.bidirectional ? 2 : 1;
    const T factor = p.multiplicity();
    Scratch<T> plain(2 * P * H);
    split_parts<T>(P, H, p.b, H, 1, 1, plain, plain + P * H, H);  // (4): Re(B^* mu) as one real product
    pack_columns<T>(2 * P, H, plain, b);
    for (int64_t d = 0; d < directions; ++d) {  // (3): C^* g
      split_parts<T>(H, P, p.c + d * P, directions * P, factor, -factor, plain, plain + P, 2 * P);
      pack_columns<T>(H, 2 * P, plain, c + d * w.in);
    }
  }
};

// Sums over rows of outer products of states and channels, (2P x H), stored by blocks of channels.
template <class T>
struct OuterSums {
  static constexpr int64_t block = kTileVectors * kLanes<T>;
  int64_t P, H;
  Scratch<T> sums;

  OuterSums(int64_t P, int64_t H) : P(P), H(H), sums(round_up(H, block) * 2 * P) { clear(); }
  void clear() { set_zero<T>(sums, round_up(H, block) * 2 * P); }
  // sums += a^T x over at most kTile rows, for the channels of one block. `panel`: kTile x block.
  void add(int64_t at, int64_t rows, const T* a, const T* x, T* panel) {
    T* to = sums + at * block * 2 * P;
    for_columns<T>(min(block, H - at * block), [&](auto columns, int64_t j) {
      using V = typename decltype(columns)::Vector;
      pack_panel<V, columns.vectors>(x + at * block + j, H, rows, panel);
      tile_column<Left::columns, columns.vectors, V>(2 * P, rows, a, 2 * P, panel, columns.count, to, columns.count, true);
      to += 2 * P * columns.count;
    });
  }
  // Calls f(state, channel, real part, imaginary part) for every sum.
  template <class F>
  void each(F&& f) const {
    for (int64_t at = 0; at * block < H; ++at) {
      const T* from = sums + at * block * 2 * P;
      for_columns<T>(min(block, H - at * block), [&](auto columns, int64_t j) {
        for (int64_t p = 0; p < P; ++p)
          for (int64_t c = 0; c < columns.count; ++c)
            f(p, at * block + j + c, from[p * columns.count + c], from[(P + p) * columns.count + c]);
        from += 2 * P * columns.count;
      });
    }
  }
};

// Rows [first, end) with their states x, and the state before the first row.
template <class T>
struct Segment {
  int64_t first, end;
  const T *x, *before;  // (rows x 2P), (2P)
};

// One direction of the gradients.
template <class T>
struct DirectionAdjoint {
  const ApplyAdjoint<T>& q;
  const States<T>& states;
  const T *b, *c;  // packed (2P x H) and (H x 2P)
  OuterSums<T>&dB, &dC;
  double *dlambda, *dD;  // dlambda: (2P), real, then imaginary parts; dD: (H) or null
  bool add;              // whether to add to du
  int threads;
  T *mu, *initial;  // (2P): the adjoint state, and the initial state of a sequence

  // Processes the rows [first, end) of a segment, in reverse order. r: (rows x 2P).
  void operator()(const Segment<T>& segment, int64_t first, int64_t end, T* r) const {
    const int64_t P = q.P, H = q.H;
    for_tiles<T>(first, end, threads, 2 * P * H,
                 [&](int64_t row, int64_t stop) { multiply_packed(stop - row, H, 2 * P, q.grad + row * H, c, r + (row - first) * 2 * P); });
    for_states<T>(P, threads, 2 * double(end - first), [&](auto columns, int64_t j) {
      for_tiles_back(first, end, [&](int64_t row, int64_t stop) { scan_tile(columns, j, segment, row, stop, r + (row - first) * 2 * P); });
    });
    for_tiles<T>(first, end, threads, 2 * P * H, [&](int64_t row, int64_t stop) {
      Scratch<T> sum(add ? kTile * H : 0);
      project<T>(stop - row, P, H, r + (row - first) * 2 * P, b, q.D, q.grad + row * H, q.du + row * H,
                 add ? static_cast<T*>(sum) : nullptr);
    });
    add_outer(first, end, segment.x + (first - segment.first) * 2 * P, r);
  }

 private:
  // Calls f(first row, end row) for every tile, in the direction opposite to the scan.
  template <class F>
  void for_tiles_back(int64_t first, int64_t end, F&& f) const {
    const int64_t tiles = (end - first + kTile - 1) / kTile;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t row = first + (states.reverse ? i : tiles - 1 - i) * kTile;
      f(row, min(end, row + kTile));
    }
  }

  // Replaces r by mu in rows [first, end) of a segment, for C::count states starting at j.
  template <class C>
  void scan_tile(C, int64_t j, const Segment<T>& segment, int64_t first, int64_t end, T* r) const {
    const bool reverse = states.reverse;
    const int64_t P = q.P, L = q.L;
    Retreat<T> scan;
    scan.P = P, scan.step = reverse ? 2 * P : -2 * P;
    scan.lambda = states.lambda + j, scan.mu = mu + j, scan.dlambda = dlambda + j;
    for_sequences(L, first, end, !reverse, [&](int64_t sequence, int64_t row, int64_t stop) {
      const int64_t earliest = reverse ? stop - 1 : row, latest = reverse ? row : stop - 1;  // in the order of the scan
      const int64_t begins = reverse ? (sequence + 1) * L - 1 : sequence * L, ends = reverse ? sequence * L : (sequence + 1) * L - 1;
      scan.count = stop - row;
      scan.r = r + (latest - first) * 2 * P + j;
      scan.x = segment.x + (latest - segment.first) * 2 * P + scan.step + j;
      if (latest == ends) begin_mu(sequence, j, C::count, scan.r);
      if (earliest == begins) {
        load_parts<T>(q.initial ? q.initial + sequence * P : nullptr, P, j, C::count, initial);
        scan.x_earliest = initial + j;
      } else {
        const int64_t row_before = earliest + (reverse ? 1 : -1);
        const bool inside = segment.first <= row_before && row_before < segment.end;
        scan.x_earliest = (inside ? segment.x + (row_before - segment.first) * 2 * P : segment.before) + j;
      }
      retreat<typename C::Vector, C::vectors>(scan);
      if (earliest == begins && q.dinitial) end_mu(sequence, j, C::count);
    });
  }
  // After the last row of a sequence, mu is 0; the gradient of the last state is added to r of that row.
  void begin_mu(int64_t sequence, int64_t j, int64_t n, T* r) const {
    const int64_t P = q.P;
    load_parts<T>(nullptr, P, j, n, mu);
    for (int64_t i = 0; q.grad_last && i < n; ++i) {
      const cplx<T> g = q.grad_last[sequence * P + j + i];
      r[i] += g.re, r[P + i] += g.im;
    }
  }
  // (5) Computes the gradient of the initial state from mu of the first row.
  void end_mu(int64_t sequence, int64_t j, int64_t n) const {
    const int64_t P = q.P;
    for (int64_t i = j; i < j + n; ++i)
      q.dinitial[sequence * P + i] = conjugate(cplx<T>{states.lambda[i], states.lambda[P + i]}) * cplx<T>{mu[i], mu[P + i]};
  }

  // dB += mu u^T, dC += x g^T, dD += u g: blocks of channels in parallel, tiles of rows in order.
  void add_outer(int64_t first, int64_t end, const T* x, const T* r) const {
    const int64_t P = q.P, H = q.H;
    constexpr int64_t block = OuterSums<T>::block;
    const double ns = double((end - first) * 4 * P * block) * kMultiplyAddNs<T>;
    parallel_for((H + block - 1) / block, threads, ns, [&](int64_t begin, int64_t stop) {
      Scratch<T> panel(kTile * block);
      for_tiles_back(first, end, [&](int64_t row, int64_t row_end) {
        const T *u = q.u + row * H, *g = q.grad + row * H;
        for (int64_t at = begin; at < stop; ++at) {
          dB.add(at, row_end - row, r + (row - first) * 2 * P, u, panel);
          dC.add(at, row_end - row, x + (row - first) * 2 * P, g, panel);
          if (!dD) continue;
          T sums[block] = {};
          const int64_t width = min(block, H - at * block);
          for (int64_t i = 0; i < row_end - row; ++i)
            for (int64_t h = 0; h < width; ++h) sums[h] += u[i * H + at * block + h] * g[i * H + at * block + h];
          for (int64_t h = 0; h < width; ++h) dD[at * block + h] += double(sums[h]);
        }
      });
    });
  }
};

// Processes rows in segments. First computes the state before each segment; then, from the last segment to the first, its states and
// gradients.
template <class T>
void run_segments(const States<T>& states, const DirectionAdjoint<T>& adjoint) {
  const Apply<T>& p = states.p;
  const int64_t P = p.P, n = p.B * p.L, length = rows_stored(P), segments = (n + length - 1) / length;
  const int64_t round = adjoint.threads == 1 ? kTile : length;
  const double row_ns = double(2 * P * p.H) * kMultiplyAddNs<T>;
  const std::size_t state_bytes = std::size_t(2 * P) * sizeof(T);
  Scratch<T> x(min(length, n) * 2 * P), r(min(round, n) * 2 * P), checkpoints(segments * 2 * P);
  const auto row_of = [&](int64_t i) { return (states.reverse ? segments - 1 - i : i) * length; };  // first row of segment i along the scan
  parallel_for(segments, 1, double(length) * row_ns, [&](int64_t i, int64_t stop) {
    for (; i < stop; ++i) {
      if (i) __builtin_memcpy(checkpoints + i * 2 * P, states.state, state_bytes);
      states(row_of(i), min(n, row_of(i) + length), adjoint.threads, x);
    }
  });
  adjoint.dC.clear();
  parallel_for(segments, 1, double(length) * 6 * row_ns, [&](int64_t k, int64_t stop) {
    for (; k < stop; ++k) {
      const int64_t i = segments - 1 - k, first = row_of(i), end = min(n, first + length);
      T* const checkpoint = checkpoints + i * 2 * P;
      if (k) {  // x still contains the last segment's states
        if (i) __builtin_memcpy(states.state, checkpoint, state_bytes);
        states(first, end, adjoint.threads, x);
      }
      const int64_t rounds = (end - first + round - 1) / round;
      for (int64_t m = 0; m < rounds; ++m) {
        const int64_t row = first + (states.reverse ? m : rounds - 1 - m) * round;
        adjoint(Segment<T>{first, end, x, checkpoint}, row, min(end, row + round), r);
      }
    }
  });
}

// Per direction: reads u twice from memory (once if there is only one segment), the gradient once, and both again from cache; writes du
// once. Stores the states of one segment, and one state for every segment.
template <class T>
void apply_adjoint(const ApplyAdjoint<T>& q) {
  Apply<T> p = q;
  p.last = nullptr;
  const int64_t P = p.P, H = p.H, directions = p.bidirectional ? 2 : 1;
  if (p.L == 0 && q.dinitial)
    for (int64_t i = 0; i < p.B * P; ++i) q.dinitial[i] = q.grad_last ? q.grad_last[i] : cplx<T>{};
  const Operands<T> w(p);
  const AdjointOperands<T> back(p, w);
  OuterSums<T> dB(P, H), dC(P, H);
  Scratch<double> dlambda(2 * P), dD(H);
  set_zero<double>(dlambda, 2 * P);
  set_zero<double>(dD, H);
  Scratch<T> state(2 * P), mu(2 * P), initial(2 * P);
  for (int64_t d = 0; d < directions; ++d) {
    const bool reverse = d == 1;
    const States<T> states{p, reverse, w.lambda, w.b, state};
    double* const dD_once = q.dD && !d ? static_cast<double*>(dD) : nullptr;
    const DirectionAdjoint<T> adjoint{q,       states,  back.b,  back.c + d * w.in,       dB, dC,
                                      dlambda, dD_once, reverse, threads_used(p.threads), mu, initial};
    run_segments(states, adjoint);
    const T factor = p.multiplicity();
    dC.each([&](int64_t j, int64_t h, T re, T im) { q.dc[h * directions * P + d * P + j] = {factor * re, -factor * im}; });
  }
  dB.each([&](int64_t j, int64_t h, T re, T im) { q.db[j * H + h] = {re, im}; });
  for (int64_t i = 0; i < P; ++i) q.dlambda[i] = {T(dlambda[i]), T(dlambda[P + i])};
  if (q.dD)
    for (int64_t h = 0; h < H; ++h) q.dD[h] = T(dD[h]);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
