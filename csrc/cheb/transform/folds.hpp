// Multiplies by D with folds: symmetric elements are added and subtracted while the size is even (4), (5); matrix products do the rest.
#pragma once
#include "cheb/transform/formula.hpp"
#include "cheb/transform/pencils.hpp"
#include "core/fft/tree.hpp"
#include "core/gemm/tile.hpp"
#include "core/run/cost.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::transform {
inline namespace QF_ISA {

constexpr int kFoldTable = 16, kChirpTable = 17;  // TableKey::kind
constexpr int64_t kFoldsFrom = 32;                // below this size, products of half the size would leave tiles half empty
constexpr int kMaxFolds = 60;

// A matrix cos(pi (k + 2m) (j + j_step i) / N), m, i < size.
struct CosineMatrix {
  int64_t size, k, j, j_step, N;
};

// The matrices that remain after the folds of D of size N: Q (5) of sizes N/4, N/8, ..., and both halves of the last D (4) and C (5).
struct CosineMatrices {
  int folds = 0;  // number of folds from N to `last`
  int64_t last;
  int count = 0;
  CosineMatrix list[kMaxFolds + 4];
  double multiply_adds = 0;  // per pencil

  explicit CosineMatrices(int64_t N) : last(N) {
    while (last % 2 == 0 && last >= kFoldsFrom) {
      last /= 2;
      if (folds++ > 0) add(last, 1, 1, 2, 4 * last, folds - 1);
    }
    add(last / 2 + 1, 0, 0, 1, last, 1), add((last + 1) / 2, 1, 0, 1, last, 1);
    if (folds > 0) add((last + 1) / 2, 1, 0, 2, 2 * last, folds), add(last / 2, 1, 1, 2, 2 * last, folds);
  }
  int64_t numbers() const {
    int64_t total = 0;
    for (int i = 0; i < count; ++i) total += list[i].size * list[i].size;
    return total;
  }

 private:
  void add(int64_t size, int64_t k, int64_t j, int64_t j_step, int64_t N, int times) {
    list[count++] = {size, k, j, j_step, N};
    multiply_adds += double(times) * double(size) * double(size);
  }
};

// Computes all matrices in order, in panels of rows for the tiles.
template <class T>
void fill_matrices(void* data, const TableKey& key) {
  T* to = static_cast<T*>(data);
  const int64_t N = key.n - 1;
  Scratch<double> cosine(2 * N);
  double sine;
  for (int64_t i = 0; i < 2 * N; ++i) fft::unit_root(i, 2 * N, cosine[i], sine);
  const CosineMatrices matrices(N);
  for (int i = 0; i < matrices.count; ++i) {
    const CosineMatrix& p = matrices.list[i];
    for_panels(p.size, [&](auto rows, int64_t first) {
      for (int64_t j = 0; j < p.size; ++j)
        for (int m = 0; m < rows.value; ++m) *to++ = T(cosine[angle(p.k + 2 * (first + m), p.j + j * p.j_step, p.N) * (N / p.N)]);
    });
  }
}

// A panel of NV vectors of pencils, or a single pencil if V = T. Its rows are the elements of the pencils.
template <class V, int NV>
struct Panel {
  using T = Element<V>;
  static constexpr int64_t P = NV * kWidth<V>;
  T* data;

  T* row(int64_t i) const { return data + i * P; }
  void scale(int64_t i, T by) const {
    for (int64_t c = 0; c < P; ++c) row(i)[c] *= by;
  }
  void fold(int64_t i, int64_t k) const {
    for (int64_t c = 0; c < P; c += kWidth<V>) {
      V low = load<V>(row(i) + c), high = load<V>(row(k) + c);
      transform::fold(low, high);
      store(row(i) + c, low), store(row(k) + c, high);
    }
  }
  // Sets row i to NaN where row k is NaN or infinite; the weight of row k in row i is 0, so folds would skip it.
  void spread_nan(int64_t i, int64_t k) const {
    for (int64_t c = 0; c < P; ++c) row(i)[c] += row(k)[c] - row(k)[c];
  }
};

// y (size) = a matrix in panels times x (size), with strides between elements. Lanes are rows of the matrix, four panels at a time. The
// order of the sums is the same as in the tiles, so the result for a pencil is bitwise the same as in a panel.
template <class T>
void multiply_one(int64_t size, const T* a, const T* x, int64_t x_step, T* y, int64_t y_step) {
  using V = Lanes<T, kTileRows>;
  constexpr int together = 4;
  const auto put = [&](auto sum, int64_t i) {
    for (int r = 0; r < kWidth<decltype(sum)>; ++r) y[(i + r) * y_step] = sum[r];
  };
  int64_t done = 0;
  for (; size - done >= together * kTileRows; done += together * kTileRows, a += together * kTileRows * size) {
    V sum[together] = {};
    for (int64_t k = 0; k < size; ++k)
      for (int p = 0; p < together; ++p)
        sum[p] = multiply_add(load<V>(a + (p * size + k) * kTileRows), broadcast<V>(x[k * x_step]), sum[p]);
    for (int p = 0; p < together; ++p) put(sum[p], done + p * kTileRows);
  }
  for_panels(size - done, [&](auto rows, int64_t i) {
    T sum[rows.value] = {};
    for (int64_t k = 0; k < size; ++k, a += rows.value)
      for (int r = 0; r < rows.value; ++r) sum[r] = multiply_add(a[r], x[k * x_step], sum[r]);
    for (int r = 0; r < rows.value; ++r) y[(done + i + r) * y_step] = sum[r];
  });
}

// Rows of a panel: first, first + step, ...
struct Line {
  int64_t first, step;
  int64_t operator[](int64_t i) const { return first + i * step; }
  Line slice(int64_t i, int64_t stride) const { return {first + i * step, stride * step}; }
};

template <class T>
class Folds {
 public:
  explicit Folds(const Transform<T>& p)
      : p_(p),
        ends_(p),
        N_(p.n - 1),
        matrices_(N_),
        table_({kFoldTable, kLanes<T>, int(sizeof(T)), p.n}, matrices_.numbers(), &fill_matrices<T>) {
    const T* at = table_;
    for (int i = 0; i < matrices_.count; ++i) {
      matrix_[i] = at;
      at += matrices_.list[i].size * matrices_.list[i].size;
    }
  }

  // Per pencil: reads n elements and writes n, using two panels of three vectors in L1 or L2. Reads the matrices once per panel.
  void run() const {
    constexpr int64_t lanes = kTileVectors * kLanes<T>;
    const int64_t pencils = p_.before * p_.after, n = p_.n;
    const double ns = double(lanes) * (matrices_.multiply_adds * kMultiplyAddNs<T> + double(n) * kCopyNs);
    parallel_for((pencils + lanes - 1) / lanes, p_.threads, ns, [&](int64_t begin, int64_t end) {
      const Scratch<T> workspace(2 * n * lanes);
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * lanes, count = min(lanes, pencils - first);
        if (count > 2 * kLanes<T>)
          one_block<V, 3>(first, count, workspace);
        else if (count > kLanes<T>)
          one_block<V, 2>(first, count, workspace);
        else if (count > 1)
          one_block<V, 1>(first, count, workspace);
        else
          one_block<T, 1>(first, count, workspace);
      }
    });
  }

 private:
  using V = Lanes<T>;
  static constexpr double kCopyNs = 0.5;  // per element in both directions (estimate)

  template <class U, int NV>
  void one_block(int64_t first, int64_t count, T* workspace) const {
    const Panel<U, NV> x{workspace}, y{x.row(p_.n)};
    const Block<T> block{p_.n, p_.after, first, count, x.P};
    gather(block, p_.x, x.data);
    if (p_.interpolates) x.scale(0, T(0.5)), x.scale(N_, T(0.5));
    cosines(x, Line{0, 1}, y, Line{0, 1}, 0);
    scatter(block, ends_, y.data, p_.y);
  }

  // Sets rows of y to matrix i times rows of x.
  template <class P>
  void multiply(int i, P x, Line from, P y, Line to) const {
    const int64_t size = matrices_.list[i].size;
    const T *const in = x.row(from.first), *const a = matrix_[i];
    T* const out = y.row(to.first);
    if constexpr (P::P == 1)
      multiply_one(size, a, in, from.step, out, to.step);
    else
      tile_column<Left::panels, P::P / kLanes<T>, V>(size, size, a, size, in, from.step * P::P, out, to.step * P::P, false);
  }

  // (4): multiplies by D of size N / 2^folds.
  template <class P>
  void cosines(P x, Line from, P y, Line to, int folds) const {
    const int64_t N = N_ >> folds;
    for (int64_t j = 0; 2 * j < N; ++j) x.fold(from[j], from[N - j]);
    if (N % 2 == 0) x.spread_nan(from[N], from[N / 2]);
    const Line sums = from, differences = from.slice(N, -1), even = to.slice(0, 2), odd = to.slice(1, 2);
    if (folds < matrices_.folds) {
      cosines(x, sums, y, even, folds + 1);
      half_cosines(x, differences, y, odd, folds + 1);
    } else {
      const int leaf = max(matrices_.folds - 1, 0);
      multiply(leaf, x, sums, y, even);
      multiply(leaf + 1, x, differences, y, odd);
    }
  }
  // (5): multiplies by C of size N / 2^folds, even and odd j separately.
  template <class P>
  void half_cosines(P x, Line from, P y, Line to, int folds) const {
    const int64_t M = N_ >> folds;
    const Line even = from.slice(0, 2), odd = from.slice(1, 2), back = to.slice(M - 1, -1);
    if (folds < matrices_.folds) {
      half_cosines(x, even, y, to, folds + 1);
      multiply(folds - 1, x, odd, y, back);
    } else {
      multiply(matrices_.count - 2, x, even, y, to);
      multiply(matrices_.count - 1, x, odd, y, back);
      if (M % 2 && M > 1) y.spread_nan(to[M / 2], back[0]);
    }
    for (int64_t m = 0; m < M / 2; ++m) y.fold(to[m], back[m]);
  }

  const Transform<T>& p_;
  Ends<T> ends_;
  int64_t N_;
  CosineMatrices matrices_;
  const CachedTable<T> table_;
  const T* matrix_[kMaxFolds + 4];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::transform
