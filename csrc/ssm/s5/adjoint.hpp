// The gradients of S5 (README (32)-(35)). The states are made again: once forwards, where only those at the beginnings of segments are
// kept, then segment by segment on the way back.
#pragma once
#include "ssm/s5/layer.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

// README (32), (34) for NV vectors of states over `count` rows, against the scan: mu in place of r, and the terms of dlambda added up.
// `x` is the row of states before the first one here, that is, one step along the scan; the last row's is `before`.
template <class V, int NV>
void s5_scan_back(int64_t P, const Element<V>* lambda, int64_t count, Element<V>* r, const Element<V>* x, int64_t step,
                  const Element<V>* before, Element<V>* mu_parts, double* dlambda) {
  Parts<V, NV> a, mu, h, g, sum{};
  a.load(lambda, P);
  mu.load(mu_parts, P);
  for (int64_t i = 0; i < count; ++i, r += step, x += step) {
    g.load(r, P);
    h.load(i + 1 < count ? x : before, P);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      mu.v[v] = scan_step(conjugate(a.v[v]), mu.v[v], g.v[v]);
      sum.v[v] = scan_step(conjugate(h.v[v]), mu.v[v], sum.v[v]);
    }
    mu.store(r, P);
  }
  mu.store(mu_parts, P);
  Element<V> parts[2][NV * kWidth<V>];
  for (int v = 0; v < NV; ++v) {
    store(parts[0] + v * kWidth<V>, sum.v[v].re);
    store(parts[1] + v * kWidth<V>, sum.v[v].im);
  }
  for (int i = 0; i < NV * kWidth<V>; ++i) {
    dlambda[i] += double(parts[0][i]);
    dlambda[P + i] += double(parts[1][i]);
  }
}

// The parameters as the adjoint's tiles read them.
template <class T>
struct S5AdjointOperands {
  Scratch<T> b, c;  // packed (2P x H), and (H x 2P) for each direction

  explicit S5AdjointOperands(const S5<T>& p, const S5Operands<T>& w) : b(w.out), c(2 * w.in) {
    const int64_t P = p.P, H = p.H, directions = p.bidirectional ? 2 : 1;
    const T factor = p.conj_sym ? 2 : 1;
    Scratch<T> plain(2 * P * H);
    split_parts<T>(P, H, p.b, H, 1, 1, plain, plain + P * H, H);  // (33): Re(B^H mu) as one real product
    pack_columns<T>(2 * P, H, plain, b);
    for (int64_t d = 0; d < directions; ++d) {  // (32): C^H g
      split_parts<T>(H, P, p.c + d * P, directions * P, factor, -factor, plain, plain + P, 2 * P);
      pack_columns<T>(H, 2 * P, plain, c + d * w.in);
    }
  }
};

// Sums over rows of products of a row of states with a row of channels, (2P x H). Blocks of channels have tiles of their own.
template <class T>
struct S5Outer {
  static constexpr int64_t block = kTileVectors * kLanes<T>;
  int64_t P, H;
  Scratch<T> sums;

  S5Outer(int64_t P, int64_t H) : P(P), H(H), sums((H + block - 1) / block * block * 2 * P) { clear(); }
  void clear() { set_zero<T>(sums, (H + block - 1) / block * block * 2 * P); }
  // sums += a^T x over at most kS5Tile rows, for the channels of one block. `panel`: kS5Tile x block.
  void add(int64_t at, int64_t rows, const T* a, const T* x, T* panel) {
    T* to = sums + at * block * 2 * P;
    for_columns<T>(min(block, H - at * block), [&](auto columns, int64_t j) {
      using V = typename decltype(columns)::Vector;
      pack_panel<V, columns.vectors>(x + at * block + j, H, rows, panel);
      tile_column<Left::columns, columns.vectors, V>(2 * P, rows, a, 2 * P, panel, columns.count, to, columns.count, true);
      to += 2 * P * columns.count;
    });
  }
  // f(state, channel, real part, imaginary part)
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

// One direction of the gradients.
template <class T>
struct S5Adjoint {
  const S5Vjp<T>& q;
  const S5States<T>& states;
  const T *b, *c;  // packed (2P x H) and (H x 2P)
  S5Outer<T>&dB, &dC;
  double *dlambda, *dD;  // parts (2P), (H); dD null where it is not wanted
  bool add;              // to du
  int threads;
  T *mu, *before;  // (2P): the adjoint state, and what stands before the first row of a sequence or segment

  // The rows [first, end) of a segment, the later half of its round trip. x: states of the rows from `first_x` on, up to `end_x`;
  // `checkpoint` (2P): the state before them. r: (rows x 2P).
  void operator()(int64_t first, int64_t end, int64_t first_x, int64_t end_x, const T* x, const T* checkpoint, T* r) const {
    const S5<T>& p = q.forward;
    const int64_t P = p.P, H = p.H;
    for_tiles<T>(first, end, threads, 2 * P * H,
                 [&](int64_t row, int64_t stop) { multiply_packed(stop - row, H, 2 * P, q.grad + row * H, c, r + (row - first) * 2 * P); });
    for_states<T>(P, threads, 2 * double(end - first), [&](auto columns, int64_t j) {
      tiles_back(first, end, [&](int64_t row, int64_t stop) {
        scan_back(columns, j, row, stop, first_x, end_x, x, checkpoint, r + (row - first) * 2 * P);
      });
    });
    for_tiles<T>(first, end, threads, 2 * P * H, [&](int64_t row, int64_t stop) {
      Scratch<T> sum(add ? kS5Tile * H : 0);
      s5_project<T>(stop - row, P, H, r + (row - first) * 2 * P, b, p.D, q.grad + row * H, q.du + row * H,
                    add ? static_cast<T*>(sum) : nullptr);
    });
    outer(first, end, x + (first - first_x) * 2 * P, r);
  }

 private:
  // f(first row, end row) of every tile, against the scan.
  template <class F>
  void tiles_back(int64_t first, int64_t end, F&& f) const {
    const int64_t tiles = (end - first + kS5Tile - 1) / kS5Tile;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t row = first + (states.reverse ? i : tiles - 1 - i) * kS5Tile;
      f(row, min(end, row + kS5Tile));
    }
  }

  template <class C>
  void scan_back(C columns, int64_t j, int64_t first, int64_t end, int64_t first_x, int64_t end_x, const T* x, const T* checkpoint,
                 T* r) const {
    const S5<T>& p = q.forward;
    const bool reverse = states.reverse;
    const int64_t P = p.P, L = p.L, n = columns.count, step = reverse ? 2 * P : -2 * P;
    for_sequences(L, first, end, !reverse, [&](int64_t sequence, int64_t row, int64_t stop) {
      const int64_t earliest = reverse ? stop - 1 : row, latest = reverse ? row : stop - 1;  // as the scan sees time
      const bool starts = earliest == (reverse ? (sequence + 1) * L - 1 : sequence * L);
      T* const from = r + (latest - first) * 2 * P;
      if (latest == (reverse ? sequence * L : (sequence + 1) * L - 1)) {
        load_parts<T>(nullptr, P, j, n, mu);
        if (q.grad_last)
          for (int64_t i = j; i < j + n; ++i) {
            from[i] += q.grad_last[sequence * P + i].re;
            from[P + i] += q.grad_last[sequence * P + i].im;
          }
      }
      const T* h = checkpoint;
      if (starts)
        load_parts<T>(p.initial ? p.initial + sequence * P : nullptr, P, j, n, before), h = before;
      else if (reverse ? earliest + 1 < end_x : earliest > first_x)
        h = x + (earliest + (reverse ? 1 : -1) - first_x) * 2 * P;
      s5_scan_back<typename C::Vector, C::vectors>(P, states.lambda + j, stop - row, from + j, x + (latest - first_x) * 2 * P + step + j,
                                                   step, h + j, mu + j, dlambda + j);
      if (starts && q.dinitial)
        for (int64_t i = j; i < j + n; ++i)
          q.dinitial[sequence * P + i] = conjugate(cplx<T>{states.lambda[i], states.lambda[P + i]}) * cplx<T>{mu[i], mu[P + i]};
    });
  }

  // dB += mu u^T, dC += x g^T, dD += u g: blocks of channels side by side, tiles of rows in their order.
  void outer(int64_t first, int64_t end, const T* x, const T* r) const {
    const S5<T>& p = q.forward;
    const int64_t P = p.P, H = p.H;
    constexpr int64_t block = S5Outer<T>::block;
    parallel_for((H + block - 1) / block, threads, double((end - first) * 4 * P * block) * kMultiplyAddNs<T>,
                 [&](int64_t begin, int64_t stop) {
                   Scratch<T> panel(kS5Tile * block);
                   tiles_back(first, end, [&](int64_t row, int64_t row_end) {
                     const T *u = p.u + row * H, *g = q.grad + row * H;
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

// Reads u three times and the gradient twice, of which one each from memory; writes du once. Of the states one segment is kept, and one
// state for every segment.
template <class T>
void s5_apply_vjp(const S5Vjp<T>& q) {
  S5<T> p = q.forward;
  p.last = nullptr;
  const int64_t P = p.P, H = p.H, n = p.B * p.L, directions = p.bidirectional ? 2 : 1;
  const int threads = threads_used(p.threads);
  if (p.L == 0 && q.dinitial)
    for (int64_t i = 0; i < p.B * P; ++i) q.dinitial[i] = q.grad_last ? q.grad_last[i] : cplx<T>{};
  const S5Operands<T> w(p);
  const S5AdjointOperands<T> back(p, w);
  S5Outer<T> dB(P, H), dC(P, H);
  Scratch<double> dlambda(2 * P), dD(H);
  set_zero<double>(dlambda, 2 * P);
  set_zero<double>(dD, H);

  const int64_t length = s5_round(P), segments = (n + length - 1) / length;
  const int64_t round = threads == 1 ? kS5Tile : length;
  Scratch<T> x(min(length, n) * 2 * P), r(min(round, n) * 2 * P), state(2 * P), checkpoints(segments * 2 * P), mu(2 * P), before(2 * P);
  const double row_ns = double(2 * P * H) * kMultiplyAddNs<T>;
  for (int64_t d = 0; d < directions; ++d) {
    const bool reverse = d == 1;
    const S5States<T> states{p, reverse, w.lambda, w.b, state};
    const S5Adjoint<T> adjoint{q,       states,  back.b,  back.c + d * w.in,
                               dB,      dC,      dlambda, q.dD && !d ? static_cast<double*>(dD) : nullptr,
                               reverse, threads, mu,      before};
    const auto row_of = [&](int64_t i) { return (reverse ? segments - 1 - i : i) * length; };  // of segment i along the scan
    parallel_for(segments, 1, double(length) * row_ns, [&](int64_t i, int64_t stop) {
      for (; i < stop; ++i) {
        if (i) __builtin_memcpy(checkpoints + i * 2 * P, state, std::size_t(2 * P) * sizeof(T));
        states(row_of(i), min(n, row_of(i) + length), threads, x);
      }
    });
    dC.clear();
    parallel_for(segments, 1, double(length) * 6 * row_ns, [&](int64_t k, int64_t stop) {
      for (; k < stop; ++k) {
        const int64_t i = segments - 1 - k, first = row_of(i), end = min(n, first + length);
        T* const checkpoint = checkpoints + i * 2 * P;
        if (k) {  // the last segment's states are still there
          if (i) __builtin_memcpy(state, checkpoint, std::size_t(2 * P) * sizeof(T));
          states(first, end, threads, x);
        }
        const int64_t rounds = (end - first + round - 1) / round;
        for (int64_t m = 0; m < rounds; ++m) {
          const int64_t row = first + (reverse ? m : rounds - 1 - m) * round;
          adjoint(row, min(end, row + round), first, end, x, checkpoint, r);
        }
      }
    });
    const T factor = p.conj_sym ? 2 : 1;
    dC.each([&](int64_t j, int64_t h, T re, T im) { q.dc[h * directions * P + d * P + j] = {factor * re, -factor * im}; });
  }
  dB.each([&](int64_t j, int64_t h, T re, T im) { q.db[j * H + h] = {re, im}; });
  for (int64_t i = 0; i < P; ++i) q.dlambda[i] = {T(dlambda[i]), T(dlambda[P + i])};
  if (q.dD)
    for (int64_t h = 0; h < H; ++h) q.dD[h] = T(dD[h]);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
