#pragma once
#include "ssm/args_kernel.hpp"

namespace quatrefoil::ssm {

enum class Method { automatic, fft, scan };

template <class T>
struct S4dConv {
  S4dKernel<T> model;    // dt, A, C, B and the sizes; K unused. In both directions C[0] looks back, C[1] ahead
  const T* u;            // (B, H, L)
  const T* D;            // (outputs, H) or null
  const cplx<T>* start;  // (B, H, N) or null
  T* y;                  // (B, outputs, H, L)
  cplx<T>* last;         // (B, H, N) or null
  std::int64_t B;
  bool both;  // directions
  Method method;
  std::int64_t outputs() const { return both ? 1 : model.M; }
};

template <class T>
struct S4dConvVjp {
  S4dConv<T> forward;        // y and last unused
  const T* grad;             // (B, outputs, H, L)
  const cplx<T>* grad_last;  // (B, H, N) or null
  T* du;                     // (B, H, L)
  S4dKernelVjp<T> model;     // ddt, dA, dC, dB; the rest unused
  T* dD;                     // (outputs, H) or null
  cplx<T>* dstart;           // (B, H, N) or null
};

template <class T>
struct LayerKernels {
  void (*s4d_conv)(const S4dConv<T>&);
  void (*s4d_conv_vjp)(const S4dConvVjp<T>&);
};

}  // namespace quatrefoil::ssm
