// Copies between pencils along one axis of an array and panels of a few pencils.
#pragma once
#include "cheb/transform/args.hpp"
#include "core/lanes/transpose.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil::cheb::transform {
inline namespace QF_ISA {

// The factor and the position of element k of a result.
template <class T>
struct Ends {
  T even, odd, end;  // factors for even and for odd k, and an additional one for the first and the last k
  int64_t N;
  bool writes_from_the_end;

  explicit Ends(const Transform<T>& p) : N(p.n - 1), writes_from_the_end(!p.from_the_end) {
    even = p.interpolates ? T(2 / double(N)) : T(1);
    odd = p.from_the_end ? -even : even;  // cos(pi k (N - j) / N) = (-1)^k cos(pi k j / N)
    end = p.interpolates ? T(0.5) : T(1);
  }
  QF_HD T factor(int64_t k) const { return (k % 2 ? odd : even) * (k == 0 || k == N ? end : T(1)); }
  QF_HD int64_t position(int64_t k) const { return writes_from_the_end ? N - k : k; }
};

// Pencil q of an array (before, n, after) consists of the elements (l, :, r) with q = l after + r. In a panel, element j of
// pencil first + i is at [j * lanes + i].
template <class T>
struct Block {
  int64_t n, after, first, count, lanes;

  // Calls f(first lane, count, offset of the first element) for the runs of contiguous pencils.
  template <class F>
  QF_HD void for_runs(F&& f) const {
    for (int64_t i = 0; i < count;) {
      const int64_t l = (first + i) / after, r = (first + i) % after, run = min(count - i, after - r);
      f(i, run, l * n * after + r);
      i += run;
    }
  }
};

// Copies x to a panel, with zeros in lanes without a pencil. Reads x once.
template <class T>
void gather(const Block<T>& b, const T* x, T* panel) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  if (b.count < b.lanes)
    for (int64_t j = 0; j < b.n; ++j)
      for (int64_t i = b.count; i < b.lanes; ++i) panel[j * b.lanes + i] = 0;
  if (b.after > 1) {
    b.for_runs([&](int64_t i, int64_t run, int64_t at) {
      for (int64_t j = 0; j < b.n; ++j) {
        const T* from = x + at + j * b.after;
        T* to = panel + j * b.lanes + i;
        int64_t k = 0;
        for (; k + W <= run; k += W) store(to + k, load<V>(from + k));
        for (; k < run; ++k) to[k] = from[k];
      }
    });
  } else {
    transpose_rows(b.count, b.n, x + b.first * b.n, b.n, panel, b.lanes);
  }
}

// Copies a panel to y, with the factors and positions of `ends`. Writes y once.
template <class T>
void scatter(const Block<T>& b, const Ends<T>& ends, const T* panel, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  if (b.after > 1) {
    b.for_runs([&](int64_t i, int64_t run, int64_t at) {
      for (int64_t k = 0; k < b.n; ++k) {
        const T* from = panel + k * b.lanes + i;
        T* to = y + at + ends.position(k) * b.after;
        const T by = ends.factor(k);
        int64_t c = 0;
        for (; c + W <= run; c += W) store(to + c, load<V>(from + c) * by);
        for (; c < run; ++c) to[c] = from[c] * by;
      }
    });
    return;
  }
  T* const rows = y + b.first * b.n;
  int64_t i = 0;
  for (; i + W <= b.count; i += W) {
    int64_t j = 0;  // index in the result
    for (; j + W <= b.n; j += W) {
      V tile[W];
      for (int t = 0; t < W; ++t) {
        const int64_t k = ends.position(j + t);
        tile[t] = load<V>(panel + k * b.lanes + i) * ends.factor(k);
      }
      transpose(tile);
      for (int t = 0; t < W; ++t) store(rows + (i + t) * b.n + j, tile[t]);
    }
    for (; j < b.n; ++j) {
      const int64_t k = ends.position(j);
      for (int t = 0; t < W; ++t) rows[(i + t) * b.n + j] = panel[k * b.lanes + i + t] * ends.factor(k);
    }
  }
  for (; i < b.count; ++i)
    for (int64_t k = 0; k < b.n; ++k) rows[i * b.n + ends.position(k)] = panel[k * b.lanes + i] * ends.factor(k);
}

// The same with one pencil per row: element j of pencil first + i is at [i * lanes + j].
template <class T>
void gather_rows(const Block<T>& b, const T* x, T* rows) {
  if (b.after == 1) {
    for (int64_t i = 0; i < b.count; ++i) __builtin_memcpy(rows + i * b.lanes, x + (b.first + i) * b.n, std::size_t(b.n) * sizeof(T));
    return;
  }
  b.for_runs([&](int64_t i, int64_t run, int64_t at) { transpose_rows(b.n, run, x + at, b.after, rows + i * b.lanes, b.lanes); });
}
template <class T>
void scatter_rows(const Block<T>& b, const Ends<T>& ends, const T* rows, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  if (b.after == 1) {
    for (int64_t i = 0; i < b.count; ++i)
      for (int64_t k = 0; k < b.n; ++k) y[(b.first + i) * b.n + ends.position(k)] = rows[i * b.lanes + k] * ends.factor(k);
    return;
  }
  b.for_runs([&](int64_t i, int64_t run, int64_t at) {
    const auto one_by_one = [&](int64_t from, int64_t to, int64_t k) {
      for (int64_t c = from; c < to; ++c) y[at + c + ends.position(k) * b.after] = rows[(i + c) * b.lanes + k] * ends.factor(k);
    };
    const int64_t whole = run / W * W;
    int64_t k = 0;
    for (; k + W <= b.n; k += W) {
      for (int64_t c = 0; c < whole; c += W) {
        V tile[W];
        for (int t = 0; t < W; ++t) tile[t] = load<V>(rows + (i + c + t) * b.lanes + k);
        transpose(tile);
        for (int t = 0; t < W; ++t) store(y + at + c + ends.position(k + t) * b.after, tile[t] * ends.factor(k + t));
      }
      for (int t = 0; t < W; ++t) one_by_one(whole, run, k + t);
    }
    for (; k < b.n; ++k) one_by_one(0, run, k);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::transform
