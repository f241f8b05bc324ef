// The ABI between the bindings and the kernels: pointers, sizes, strides. One file a noun, and here the table of all.
#pragma once
#include "ssm/args_convolution.hpp"
#include "ssm/args_mamba.hpp"
#include "ssm/args_scan.hpp"

namespace quatrefoil::ssm {

template <class T>
struct Kernels {
  ConvolutionKernels<T> convolution;
  ScanKernels<T> scan;
  MambaKernels<T> mamba;
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace quatrefoil::ssm
