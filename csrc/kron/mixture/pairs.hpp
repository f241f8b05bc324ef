// Kernels at all pairs of points, and their adjoint. The points stay in cache; N M elements are written or read once.
#pragma once
#include "core/lanes/shuffles.hpp"
#include "kron/mixture/args.hpp"
#include "kron/mixture/line.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

// Stores points (M, P) as (P, stride) in double precision, for vectors of differences.
template <class T>
class Columns {
 public:
  Columns(const T* y, int64_t M, int64_t P) : stride_(round_up(M, W)), y_(P * stride_) {
    for (int64_t p = 0; p < P; ++p)
      for (int64_t j = 0; j < stride_; ++j) y_[p * stride_ + j] = j < M ? double(y[j * P + p]) : 0;
  }
  int64_t stride() const { return stride_; }
  QF_HD V differences(const T* x, int64_t p, int64_t j) const { return broadcast<V>(double(x[p])) - load<V>(y_ + p * stride_ + j); }

 private:
  int64_t stride_;
  Scratch<double> y_;
};

constexpr int64_t kColumnsPerBlock = 4096;  // longer rows are divided among threads

template <class T, class Kernel>
void values_of_pairs(const Pairs<T>& p, const Kernel& kernel) {
  const Columns<T> y(p.y, p.M, p.P);
  const int64_t blocks = (p.M + kColumnsPerBlock - 1) / kColumnsPerBlock;
  parallel_for(p.N * blocks, p.threads, double(min(p.M, kColumnsPerBlock)) * kernel.ns(), [&](int64_t begin, int64_t end) {
    InterruptCheck check;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t i = at / blocks, first = at % blocks * kColumnsPerBlock;
      values_along(kernel, min(p.M - first, kColumnsPerBlock), p.out + i * p.M + first, check,
                   [&](int64_t k, int64_t j) { return y.differences(p.x + i * p.P, k, first + j); });
    }
  });
}

constexpr int64_t kTile = 64;  // rows and columns that stay in L1 until they are mirrored

// Mirrors the tile of rows [i, i + rows) and columns [j, j + columns), negated if `odd`. A tile on the diagonal is mirrored from its part
// above the diagonal.
template <class T>
void mirror_tile(T* out, int64_t N, int64_t i, int64_t rows, int64_t j, int64_t columns, bool odd) {
  using R = Lanes<T, W>;
  const auto one_by_one = [&](int64_t from, int64_t to, int64_t left, int64_t right) {
    for (int64_t a = from; a < to; ++a)
      for (int64_t b = i == j ? max(left, a + 1) : left; b < right; ++b)
        out[(j + b) * N + i + a] = odd ? -out[(i + a) * N + j + b] : out[(i + a) * N + j + b];
  };
  for (int64_t a = 0; a < rows; a += W)
    for (int64_t b = i == j ? a : 0; b < columns; b += W) {
      if (a + W > rows || b + W > columns || (i == j && a == b)) {
        one_by_one(a, min(a + W, rows), b, min(b + W, columns));
        continue;
      }
      R square[W];
      for (int k = 0; k < W; ++k) square[k] = load<R>(out + (i + a + k) * N + j + b);
      transpose(square);
      for (int k = 0; k < W; ++k) store(out + (j + b + k) * N + i + a, odd ? R(-square[k]) : square[k]);
    }
}

// One set of points: computes the tiles on and above the diagonal, and mirrors them. N^2 / 2 evaluations.
template <class T, class Kernel>
void values_of_itself(const Pairs<T>& p, const Kernel& kernel) {
  const Columns<T> y(p.y, p.N, p.P);
  const int64_t tiles = (p.N + kTile - 1) / kTile;
  parallel_for(tiles * (tiles + 1) / 2, p.threads, double(kTile * kTile) * kernel.ns(), [&](int64_t begin, int64_t end) {
    InterruptCheck check;
    int64_t row = 0, before = 0;  // tiles of earlier rows
    for (int64_t at = begin; at < end; ++at) {
      while (at - before >= tiles - row) before += tiles - row++;
      const int64_t i = row * kTile, j = (row + at - before) * kTile, rows = min(kTile, p.N - i), columns = min(kTile, p.N - j);
      for (int64_t a = 0; a < rows; ++a) {
        const int64_t first = i == j ? a / W * W : 0;
        values_along(kernel, columns - first, p.out + (i + a) * p.N + j + first, check,
                     [&](int64_t k, int64_t b) { return y.differences(p.x + (i + a) * p.P, k, j + first + b); });
      }
      mirror_tile(p.out, p.N, i, rows, j, columns, kernel.odd());
    }
  });
}

// Computes dx and dy from the sums over rows (N, P) and columns (P, stride); dx from both if y is x.
template <class T>
void put_gradients(const Pairs<T>& p, const PairsAdjoint<T>& q, const double* rows, const double* columns, int64_t stride) {
  for (int64_t i = 0; i < p.N; ++i)
    for (int64_t k = 0; k < p.P; ++k) q.dx[i * p.P + k] = T(rows[i * p.P + k] - (p.itself ? columns[k * stride + i] : 0));
  for (int64_t j = 0; !p.itself && j < p.M; ++j)
    for (int64_t k = 0; k < p.P; ++k) q.dy[j * p.P + k] = T(-columns[k * stride + j]);
}

// Writes dx and dy, and calls put(sums) with the sums for the parameters.
template <class T, class Kernel, class Put>
void adjoint_of_pairs(const Pairs<T>& p, const PairsAdjoint<T>& q, const Kernel& kernel, const Put& put) {
  const Columns<T> y(p.y, p.M, p.P);
  const int64_t size = Kernel::kHasSlopes ? p.P * y.stride() : 0, parts = parts_of(p.N, size + kernel.sums());
  const KernelSums<Kernel> sums(kernel, parts);
  const Scratch<double> rows(Kernel::kHasSlopes ? p.N * p.P : 0), columns(size);
  const PartialSums<double> parts_of_columns(columns, 1, parts, size);
  parallel_for(parts, p.threads, double(p.N) / double(parts) * double(p.M) * kernel.adjoint_ns(), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      sums.part(part, [&](V* workspace) {
        double* const to = parts_of_columns.part(part);
        set_zero(to, size);
        const Scratch<V> row(p.P);
        InterruptCheck check;
        for (int64_t i = p.N * part / parts; i < p.N * (part + 1) / parts; ++i) {
          for (int64_t k = 0; k < p.P; ++k) row[k] = V{};
          adjoint_along(
              kernel, p.M, q.grad + i * p.M, workspace, check, [&](int64_t k, int64_t j) { return y.differences(p.x + i * p.P, k, j); },
              [&](int64_t k, int64_t j, V derivative, V g) {
                const V step = derivative * g;
                row[k] += step;
                store(to + k * y.stride() + j, load<V>(to + k * y.stride() + j) + step);
              });
          for (int64_t k = 0; Kernel::kHasSlopes && k < p.P; ++k) rows[i * p.P + k] = sum(row[k]);
        }
      });
  });
  if constexpr (Kernel::kHasSlopes) {
    parts_of_columns.add_up(p.threads);
    put_gradients(p, q, rows, columns, y.stride());
  }
  put(sums.add_up(p.threads));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
