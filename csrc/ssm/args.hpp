// The ABI between the bindings and the kernels: pointers, sizes, strides. One file a noun, and here the table of all.
#pragma once
#include "ssm/args_cauchy.hpp"
#include "ssm/args_convolution.hpp"
#include "ssm/args_dplr.hpp"
#include "ssm/args_kalmanet.hpp"
#include "ssm/args_kernel.hpp"
#include "ssm/args_layer.hpp"
#include "ssm/args_mamba.hpp"
#include "ssm/args_s5.hpp"
#include "ssm/args_scan.hpp"
#include "ssm/args_vandermonde.hpp"

namespace quatrefoil::ssm {

template <class T>
struct Kernels {
  CauchyKernels<T> cauchy;
  ConvolutionKernels<T> convolution;
  DplrKernels<T> dplr;
  KalmanetKernels<T> kalmanet;
  KernelKernels<T> kernel;
  LayerKernels<T> layer;
  MambaKernels<T> mamba;
  S5Kernels<T> s5;
  ScanKernels<T> scan;
  VandermondeKernels<T> vandermonde;
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace quatrefoil::ssm
