// One uniform axis, or two with the same step: the matrix consists of the kernel's values at N, or N + M - 1, lags. README (9), (10).
#pragma once
#include "kron/mixture/pairs.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

constexpr double kSlack = 4;     // rounding of an axis computed as x_0 + i h in its own precision, relative to eps max|x|
constexpr double kReadNs = 1.0;  // per element of a gradient that is read and summed; estimated

template <class T>
constexpr double kEps = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23;

template <class T>
double step_of(const T* x, int64_t n) {
  return n > 1 ? (double(x[n - 1]) - double(x[0])) / double(n - 1) : 0.0;
}
// (9)
template <class T>
bool is_uniform(const T* x, int64_t n, double h) {
  double largest = 0, deviation = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double a = double(x[i]), b = a - (double(x[0]) + double(i) * h);
    largest = max(largest, a < 0 ? -a : a), deviation = max(deviation, b < 0 ? -b : b);
  }
  return deviation <= kSlack * kEps<T> * largest;
}

// The lags of uniform axes, (i - j) h + x_0 - y_0. For one axis, those from 0 on; the others are their mirror images. For two axes, those
// for i - j = N - 1, ..., 1 - M.
class Lags {
 public:
  template <class T>
  explicit Lags(const Pairs<T>& p)
      : h_(p.P != 1     ? 0
           : p.N >= p.M ? step_of(p.x, p.N)
                        : step_of(p.y, p.M)),
        exist_(on_uniform_axis(p, h_)),
        count_(!exist_    ? 0
               : p.itself ? p.N
                          : p.N + p.M - 1),
        d_(count_) {
    const double first = p.itself || !exist_ ? 0 : double(p.x[0]) - double(p.y[0]);
    for (int64_t t = 0; t < count_; ++t) d_[t] = p.itself ? double(t) * h_ : first + double(p.N - 1 - t) * h_;
  }
  bool exist() const { return exist_; }
  int64_t count() const { return count_; }
  operator const double*() const { return d_; }

 private:
  template <class T>
  static bool on_uniform_axis(const Pairs<T>& p, double h) {
    return p.P == 1 && (p.itself || (p.N > 1 && p.M > 1 && is_uniform(p.y, p.M, h))) && is_uniform(p.x, p.N, h);
  }

  double h_;
  bool exist_;
  int64_t count_;
  Scratch<double> d_;
};

// Fills lags N - 1, ..., 1 - N from the values at lags 0, 1, ..., which start at all[N - 1]. Row i of the matrix starts at all[N - 1 - i].
template <class T>
T* mirror(T* all, int64_t N, bool odd) {
  T* const right = all + N - 1;
  for (int64_t l = 1; l < N; ++l) all[N - 1 - l] = right[l];
  for (int64_t l = 1; l < N; ++l) right[l] = odd ? -all[N - 1 - l] : all[N - 1 - l];
  return all;
}

// One evaluation per lag; writes N M elements.
template <class T, class Kernel>
void toeplitz_values(const Pairs<T>& p, const Lags& lags, const Kernel& kernel) {
  if (p.N == 0) return;
  const Scratch<T> all(p.N + p.M - 1);
  values_at(kernel, static_cast<const double*>(lags), lags.count(), p.itself ? all + p.N - 1 : all + 0, p.threads);
  if (p.itself) mirror<T>(all, p.N, kernel.odd());
  parallel_for(p.N, p.threads, double(p.M) * kZeroNs * sizeof(T), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) __builtin_memcpy(p.out + i * p.M, all + p.N - 1 - i, std::size_t(p.M) * sizeof(T));
  });
}

// Sums the gradient along its diagonals: to[N - 1 - l] for i - j = l.
template <class T>
void sum_diagonals(const Pairs<T>& p, const T* grad, double* to) {
  const int64_t N = p.N, M = p.M, size = N + M - 1, parts = parts_of(N, size);
  const PartialSums<double> sums(to, 1, parts, size);
  parallel_for(parts, p.threads, double(N) / double(parts) * double(M) * kReadNs, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      set_zero(sums.part(part), size);
      for (int64_t i = N * part / parts; i < N * (part + 1) / parts; ++i) {
        double* const at = sums.part(part) + N - 1 - i;
        for (int64_t j = 0; j < M; ++j) at[j] += double(grad[i * M + j]);
        check_interrupt(double(M) * kReadNs);
      }
    }
  });
  sums.add_up(p.threads);
}

// Computes dx and dy from the derivative at every lag, slopes[N - 1 - l] for i - j = l. Reads N M elements.
template <class T>
void toeplitz_gradient(const Pairs<T>& p, const PairsAdjoint<T>& q, const double* slopes) {
  const int64_t N = p.N, M = p.M, parts = parts_of(N, M);
  const Scratch<double> rows(N), columns(M);
  const PartialSums<double> sums(columns, 1, parts, M);
  parallel_for(parts, p.threads, double(N) / double(parts) * double(M) * kReadNs, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      double* const to = sums.part(part);
      set_zero(to, M);
      for (int64_t i = N * part / parts; i < N * (part + 1) / parts; ++i) {
        V row{};
        for (int64_t j = 0; j < M; j += W) {
          const V g = converted<double>(load_first<Lanes<T, W>>(q.grad + i * M + j, M - j));
          const V step = g * load_first<V>(slopes + N - 1 - i + j, M - j);
          row += step;
          store_first(to + j, load_first<V>(to + j, M - j) + step, M - j);
        }
        rows[i] = sum(row);
        check_interrupt(double(M) * kReadNs);
      }
    }
  });
  sums.add_up(p.threads);
  put_gradients<T>(p, q, rows, columns, M);
}

// (10) One evaluation per lag, with the sums of diagonals as the gradient.
template <class T, class Kernel, class Put>
void toeplitz_adjoint(const Pairs<T>& p, const PairsAdjoint<T>& q, const Lags& lags, const Kernel& kernel, const Put& put) {
  const int64_t N = p.N, size = max<int64_t>(1, N + p.M - 1), parts = parts_at(kernel, lags.count());
  const Scratch<double> diagonals(size), slopes(size);
  if (N > 0) sum_diagonals(p, q.grad, diagonals);
  const int64_t first = p.itself ? max<int64_t>(0, N - 1) : 0;
  double* const folded = diagonals + first;  // lags l and -l together
  for (int64_t l = 1; p.itself && l < N; ++l) folded[l] = diagonals[N - 1 - l] + (kernel.odd() ? -folded[l] : folded[l]);
  const KernelSums<Kernel> sums(kernel, parts);
  put(adjoint_at(kernel, sums, parts, static_cast<const double*>(lags), folded, lags.count(), p.threads, [&](int64_t l, V derivative, V) {
    if constexpr (Kernel::kHasSlopes) store_first(slopes + first + l, derivative, lags.count() - l);
  }));
  if (!Kernel::kHasSlopes || N == 0) return;
  if (p.itself) mirror<double>(slopes, N, !kernel.odd());
  toeplitz_gradient<T>(p, q, slopes);
}

template <class T, class Kernel>
void values(const Pairs<T>& p, const Kernel& kernel) {
  const Lags lags(p);
  if (lags.exist())
    toeplitz_values(p, lags, kernel);
  else
    p.itself ? values_of_itself(p, kernel) : values_of_pairs(p, kernel);
}
template <class T, class Kernel, class Put>
void adjoint(const Pairs<T>& p, const PairsAdjoint<T>& q, const Kernel& kernel, const Put& put) {
  const Lags lags(p);
  lags.exist() ? toeplitz_adjoint(p, q, lags, kernel, put) : adjoint_of_pairs(p, q, kernel, put);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
