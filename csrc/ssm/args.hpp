// The ABI between the bindings and the kernels: pointers, sizes, strides. One file a noun, and the table of all.
#pragma once
#include "core/cplx.hpp"
#include "ssm/args_convolution.hpp"
#include "ssm/args_scan.hpp"

namespace quatrefoil::ssm {

template <class T>
struct Kernels {
  void (*fft_conv)(const FftConv<T>&);
  void (*fft_conv_vjp)(const FftConvVjp<T>&);
  void (*linear_scan)(const LinearScan<T>&);
  void (*linear_scan_vjp)(const LinearScanVjp<T>&);
  void (*linear_scan_complex)(const LinearScan<cplx<T>>&);
  void (*linear_scan_complex_vjp)(const LinearScanVjp<cplx<T>>&);
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace quatrefoil::ssm
