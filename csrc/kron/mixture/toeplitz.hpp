// One uniform axis against itself: a kernel is evaluated at N lags, and the matrix made of them. README (9), (10).
#pragma once
#include "kron/mixture/lags.hpp"
#include "kron/mixture/pairs.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

constexpr double kSlack = 4;     // in eps of the largest |x|: what an axis that is computed as x_0 + i h in its own precision is off by
constexpr double kReadNs = 1.0;  // a number of a gradient, with the sum that it goes to; estimated

template <class T>
constexpr double kEps = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23;

template <class T>
double step_of(const T* x, int64_t n) {
  return n > 1 ? (double(x[n - 1]) - double(x[0])) / double(n - 1) : 0.0;
}
// (9)
template <class T>
bool is_uniform(const T* x, int64_t n) {
  double most = 0, off = 0;
  const double h = step_of(x, n);
  for (int64_t i = 0; i < n; ++i) {
    const double a = double(x[i]), b = a - (double(x[0]) + double(i) * h);
    most = max(most, a < 0 ? -a : a), off = max(off, b < 0 ? -b : b);
  }
  return off <= kSlack * kEps<T> * most;
}
template <class T>
bool is_uniform(const Pairs<T>& p) {
  return p.itself && p.P == 1 && is_uniform(p.x, p.N);
}

// The lags l h of an axis, l < N.
class Lags {
 public:
  template <class T>
  explicit Lags(const Pairs<T>& p) : d_(p.N) {
    const double h = step_of(p.x, p.N);
    for (int64_t l = 0; l < p.N; ++l) d_[l] = double(l) * h;
  }
  operator const double*() const { return d_; }

 private:
  Scratch<double> d_;
};

// What belongs to the lags N - 1, ..., 1 - N, from what belongs to those not below 0 and lies behind N - 1 numbers. Row i of the matrix
// starts at N - 1 - i.
template <class T>
T* mirror(T* all, int64_t N, bool odd) {
  T* const right = all + N - 1;  // lags 0, 1, ...: to be turned around
  for (int64_t l = 1; l < N; ++l) all[N - 1 - l] = right[l];
  for (int64_t l = 1; l < N; ++l) right[l] = odd ? -all[N - 1 - l] : all[N - 1 - l];
  return all;
}

// N evaluations; N^2 numbers are written.
template <class T, class Kernel>
void toeplitz_values(const Pairs<T>& p, const Kernel& kernel) {
  if (p.N == 0) return;
  const Lags lags(p);
  const Scratch<T> all(2 * p.N - 1);
  values_at(kernel, static_cast<const double*>(lags), p.N, all + p.N - 1, p.threads);
  mirror<T>(all, p.N, kernel.odd());
  parallel_for(p.N, p.threads, double(p.N) * kZeroNs * sizeof(T), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) __builtin_memcpy(p.out + i * p.N, all + p.N - 1 - i, std::size_t(p.N) * sizeof(T));
  });
}

// The gradient's diagonals: to[N - 1 - l] of lag l.
template <class T>
void sum_diagonals(const T* grad, int64_t N, double* to, int threads) {
  const int64_t size = 2 * N - 1, parts = parts_of(N, size);
  const PartialSums<double> sums(to, 1, parts, size);
  parallel_for(parts, threads, double(N) / double(parts) * double(N) * kReadNs, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      set_zero(sums.part(part), size);
      for (int64_t i = N * part / parts; i < N * (part + 1) / parts; ++i) {
        double* const at = sums.part(part) + N - 1 - i;
        for (int64_t j = 0; j < N; ++j) at[j] += double(grad[i * N + j]);
        check_interrupt(double(N) * kReadNs);
      }
    }
  });
  sums.add_up(threads);
}

// dx from the derivative at every lag, slopes[N - 1 - l] that of lag l: N^2 numbers are read once more.
template <class T>
void toeplitz_gradient(const Pairs<T>& p, const PairsAdjoint<T>& q, const double* slopes) {
  const int64_t N = p.N, parts = parts_of(N, N);
  const Scratch<double> rows(N), columns(N);
  const PartialSums<double> sums(columns, 1, parts, N);
  parallel_for(parts, p.threads, double(N) / double(parts) * double(N) * kReadNs, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      double* const to = sums.part(part);
      set_zero(to, N);
      for (int64_t i = N * part / parts; i < N * (part + 1) / parts; ++i) {
        V row{};
        for (int64_t j = 0; j < N; j += W) {
          const V g = converted<double>(load_first<Lanes<T, W>>(q.grad + i * N + j, N - j));
          const V step = g * load_first<V>(slopes + N - 1 - i + j, N - j);
          row += step;
          store_first(to + j, load_first<V>(to + j, N - j) + step, N - j);
        }
        rows[i] = sum(row);
        check_interrupt(double(N) * kReadNs);
      }
    }
  });
  sums.add_up(p.threads);
  put_gradients<T>(p, q, rows, columns, N);
}

// (10) N evaluations at the sums of diagonals.
template <class T, class Kernel, class Put>
void toeplitz_adjoint(const Pairs<T>& p, const PairsAdjoint<T>& q, const Kernel& kernel, const Put& put) {
  const int64_t N = p.N, size = max<int64_t>(1, 2 * N - 1), parts = parts_at(kernel, N);
  const Lags lags(p);
  const Scratch<double> diagonals(size), slopes(size);
  if (N > 0) sum_diagonals(q.grad, N, diagonals, p.threads);
  double* const folded = diagonals + max<int64_t>(0, N - 1);  // lag l with lag -l, which lies on its other side
  for (int64_t l = 1; l < N; ++l) folded[l] = diagonals[N - 1 - l] + (kernel.odd() ? -folded[l] : folded[l]);
  const KernelSums<Kernel> sums(kernel, parts);
  put(adjoint_at(kernel, sums, parts, static_cast<const double*>(lags), folded, N, p.threads, [&](int64_t l, V derivative, V) {
    if constexpr (Kernel::kHasSlopes) store_first(slopes + N - 1 + l, derivative, N - l);
  }));
  if (Kernel::kHasSlopes && N > 0) toeplitz_gradient<T>(p, q, mirror<double>(slopes, N, !kernel.odd()));
}

template <class T, class Kernel>
void values(const Pairs<T>& p, const Kernel& kernel) {
  is_uniform(p) ? toeplitz_values(p, kernel) : values_of_pairs(p, kernel);
}
template <class T, class Kernel, class Put>
void adjoint(const Pairs<T>& p, const PairsAdjoint<T>& q, const Kernel& kernel, const Put& put) {
  is_uniform(p) ? toeplitz_adjoint(p, q, kernel, put) : adjoint_of_pairs(p, q, kernel, put);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
