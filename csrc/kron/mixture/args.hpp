// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::kron::mixture {

// Points in P dimensions.
template <class T>
struct Pairs {
  const T* x;  // (N, P)
  const T* y;  // (M, P)
  T* out;      // (N, M)
  std::int64_t N, M, P;
  bool itself;  // y is x
  int threads;
};
template <class T>
struct PairsAdjoint {
  const T* grad;  // (N, M)
  T *dx, *dy;     // same shapes as x and y; dy is null if y is x; both are null if the kernel has no slopes
};

enum class Shape { squared_exponential, matern12, matern32, matern52, periodic, rational_quadratic };
template <class T>
struct Radial {
  Pairs<T> pairs;
  Shape shape;
  const T* scale;  // (P,) or one number
  bool one_scale;
  const T* period;  // shaped like the scale; for the periodic kernel
  bool one_period;
  const T* alpha;  // one number; for the rational quadratic kernel
};
template <class T>
struct RadialAdjoint {
  Radial<T> forward;  // pairs.out is unused, here and below
  PairsAdjoint<T> pairs;
  T* dscale;
  T *dperiod, *dalpha;
};

enum class Kind { student_t, gaussian };
template <class T>
struct Components {
  const T *log_weights, *log_scales, *freqs;  // (Q,)
  std::int64_t Q;
  Kind kind;
  int order;  // 0 to 2
};
template <class T>
struct ComponentsAdjoint {
  T *dlog_weights, *dlog_scales, *dfreqs;  // (Q,)
};

template <class T>
struct Spectral {
  Pairs<T> pairs;  // P = 1
  Components<T> components;
};
template <class T>
struct SpectralAdjoint {
  Spectral<T> forward;
  PairsAdjoint<T> pairs;
  ComponentsAdjoint<T> components;
};

template <class T>
struct SpectralLags {
  const T* d;  // (N,)
  T* out;      // (N,)
  std::int64_t N;
  Components<T> components;
  int threads;
};
template <class T>
struct SpectralLagsAdjoint {
  SpectralLags<T> forward;
  const T* grad;  // (N,)
  T* dd;          // (N,)
  ComponentsAdjoint<T> components;
};

// Entry (a, p) of means is at a of_means[0] + p of_means[1], and likewise for deviations; strides may be 0.
template <class T>
struct Product {
  Pairs<T> pairs;
  const T* weights;  // (A,)
  const T *means, *deviations;
  std::int64_t A, of_means[2], of_deviations[2];
};
template <class T>
struct ProductAdjoint {
  Product<T> forward;
  const T* grad;  // (N, M)
  T *dweights, *dmeans, *ddeviations;
  std::int64_t means, deviations;  // sizes of dmeans and ddeviations
};

// Numbers that must be finite and greater than `minimum`, or at least `minimum` if `or_equal`.
template <class T>
struct Range {
  const T* x;
  std::int64_t n;
  double minimum;
  bool or_equal;
};

template <class T>
struct Kernels {
  void (*radial)(const Radial<T>&);
  void (*radial_adjoint)(const RadialAdjoint<T>&);
  void (*spectral)(const Spectral<T>&);
  void (*spectral_adjoint)(const SpectralAdjoint<T>&);
  void (*spectral_lags)(const SpectralLags<T>&);
  void (*spectral_lags_adjoint)(const SpectralLagsAdjoint<T>&);
  void (*product)(const Product<T>&);
  void (*product_adjoint)(const ProductAdjoint<T>&);
  std::int64_t (*first_outside)(const Range<T>&);  // index of the first invalid element, or -1
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::kron::mixture
