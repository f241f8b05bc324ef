// The ABI between the bindings and the kernels: pointers, sizes, strides. One file a noun, and here the table of all.
#pragma once
#include "ssm/args_cauchy.hpp"
#include "ssm/args_convolution.hpp"
#include "ssm/args_dplr.hpp"
#include "ssm/args_kernel.hpp"
#include "ssm/args_scan.hpp"
#include "ssm/args_vandermonde.hpp"

namespace quatrefoil::ssm {

template <class T>
struct Kernels {
  ConvolutionKernels<T> convolution;
  ScanKernels<T> scan;
  KernelKernels<T> kernel;
  VandermondeKernels<T> vandermonde;
  CauchyKernels<T> cauchy;
  DplrKernels<T> dplr;
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace quatrefoil::ssm
