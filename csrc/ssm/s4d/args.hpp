// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"
#include "ssm/modes/args.hpp"

namespace quatrefoil::ssm::s4d {
using modes::Disc;

template <class T>
struct Model {
  const T* dt;       // (H,)
  const cplx<T>* A;  // (H, N)
  const cplx<T>* C;  // (M, H, N)
  const cplx<T>* B;  // (H, N) or null
  T* K;              // (M, H, L)
  std::int64_t M, H, N, L;
  Disc disc;
  int threads;
};

template <class T>
struct ModelAdjoint {
  Model<T> forward;  // K unused
  const T* grad;     // (M, H, L)
  T* ddt;            // (H,)
  cplx<T>* dA;       // (H, N)
  cplx<T>* dC;       // (M, H, N)
  cplx<T>* dB;       // (H, N) or null
};

enum class Method { automatic, fft, scan };

template <class T>
struct Layer {
  Model<T> model;        // K unused. With both directions, C[0] is causal and C[1] anticausal
  const T* u;            // (B, H, L)
  const T* D;            // (outputs, H) or null
  const cplx<T>* start;  // (B, H, N) or null
  T* y;                  // (B, outputs, H, L)
  cplx<T>* last;         // (B, H, N) or null
  std::int64_t B;
  bool both;  // whether the layer runs in both directions
  Method method;
  std::int64_t outputs() const { return both ? 1 : model.M; }
};

template <class T>
struct LayerAdjoint {
  Layer<T> forward;          // y and last unused
  const T* grad;             // (B, outputs, H, L)
  const cplx<T>* grad_last;  // (B, H, N) or null
  T* du;                     // (B, H, L)
  ModelAdjoint<T> model;     // ddt, dA, dC, dB; the others are unused
  T* dD;                     // (outputs, H) or null
  cplx<T>* dstart;           // (B, H, N) or null
};

template <class T>
struct Kernels {
  void (*kernel)(const Model<T>&);
  void (*kernel_adjoint)(const ModelAdjoint<T>&);
  void (*layer)(const Layer<T>&);
  void (*layer_adjoint)(const LayerAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::s4d
