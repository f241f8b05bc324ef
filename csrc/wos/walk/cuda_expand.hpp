// Coefficients of u in harmonics on balls, on a GPU: README, Harmonic caching.
#pragma once
#include "wos/walk/cuda.hpp"
#include "wos/walk/cuda_nodes.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// (17) The factors of the recurrence in space: of order m and degree l at 2 (m (modes + 1) + l).
__global__ void __launch_bounds__(kThreads, 1) put_factors(const int64_t modes, double* factors) {
  QF_ROLLED
  for (int64_t at = thread_here(); at < (modes + 1) * (modes + 1); at += threads_here()) {
    const int64_t m = at / (modes + 1), l = at % (modes + 1);
    const double ll = double(l * l), mm = double(m * m), before = double((l - 1) * (l - 1));
    factors[2 * at] = l > m ? square_root((4 * ll - 1) / (ll - mm)) : m > 0 ? square_root((2.0 * double(m) + 1) / (2.0 * double(m))) : 1;
    factors[2 * at + 1] = l > m + 1 ? square_root((before - mm) / (4 * before - 1)) : 0;
  }
}

// (17) add(number, value) for every harmonic but the first, which is 1, at a unit vector.
template <class Add>
__device__ __forceinline__ void each_harmonic(const double (&n)[2], int64_t modes, const double*, Add&& add) {
  double c = 1.4142135623730951, s = 0;
  for (int64_t m = 1; m <= modes; ++m) {
    const double next = c * n[0] - s * n[1];
    s = s * n[0] + c * n[1];
    c = next;
    add(2 * m - 1, c), add(2 * m, s);
  }
}
template <class Add>
__device__ __forceinline__ void each_harmonic(const double (&n)[3], int64_t modes, const double* factors, Add&& add) {
  double c = 1.4142135623730951, s = 0, sectoral = 1;
  for (int64_t m = 0; m <= modes; ++m) {
    const double* f = factors + 2 * (m * (modes + 1) + m);
    if (m > 0) {
      const double next = c * n[0] - s * n[1];
      s = s * n[0] + c * n[1];
      c = next;
    }
    sectoral *= f[0];
    double before = 0, here = sectoral;
    for (int64_t l = m;; f += 2) {
      if (m == 0 && l > 0) add(l * l, here);
      if (m > 0) add(l * l + 2 * m - 1, here * c), add(l * l + 2 * m, here * s);
      if (++l > modes) break;
      const double next = (n[2] * here - before * f[3]) * f[2];
      before = here;
      here = next;
    }
  }
}

// Of a round's values, of whole samples, their means times the harmonics: a thread a sample, whose coefficients it writes as it goes.
template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    expand_samples(const Expand<double> q, const int64_t first_row, const int64_t rows, const int64_t first_sample, const int64_t samples,
                   const double* radius, const double* factors, const double* values) {
  const Walk<double>& p = q.forward;
  const int64_t walks = p.walks / q.samples, count = harmonics(D, q.modes);
  QF_ROLLED
  for (int64_t at = thread_here(); at < rows * samples; at += threads_here()) {
    const int64_t row = first_row + at / samples, sample = first_sample + at % samples, instance = row / p.N;
    const double extent = p.frame[instance * (D + 2) + D],
                 scale = bessel_series<D - 2>(0.25 * radius[row] * radius[row] * p.screening * extent * extent);
    double* const to = q.coefficients + (row * q.samples + sample) * count;
    for (int64_t c = 0; c < count; ++c) to[c] = 0;
    double total = 0;
    for (int64_t w = 0; w < walks; ++w) {
      const int64_t walk = p.first_walk + sample * walks + w;
      uint32_t words[4] = {kFirstStream, uint32_t(walk >> 1), uint32_t(p.first_point + row % p.N), uint32_t(p.first_instance + instance)};
      philox(words, p.key0, p.key1);
      double n[D];
      direction<double>(words[0], words[1], n);  // in which the walk leaves (13)
      for (int j = 0; j < D; ++j) n[j] = walk & 1 ? -n[j] : n[j];
      const double u = values[at * walks + w] * scale, excess = u - q.reference[row];
      total += u;
      each_harmonic(n, q.modes, factors, [&](int64_t c, double y) { to[c] += excess * y; });
    }
    to[0] = total;
    for (int64_t c = 0; c < count; ++c) to[c] /= double(walks);
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
