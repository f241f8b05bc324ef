// Arguments of the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::selective {

// A strided array (item, channel, time); strides are in elements. `at` may be null.
template <class E>
struct Signal {
  E* at = nullptr;
  std::int64_t item = 0, channel = 0, time = 0;
};

// B or C of a selective scan. If it varies in time: (item, group, state, time); a group is channels / groups consecutive channels. If not:
// (channel, state), treated as one group per channel with stride 0 along items and time.
template <class E>
struct Mixing {
  const E* at = nullptr;
  std::int64_t item = 0, group = 0, state = 0, time = 0;
  std::int64_t groups = 1;
  bool varies = true;
};

template <class T, class E>
struct SelectiveScan {  // E: the type of the state, T or cplx<T>
  std::int64_t items, channels, states, length;
  Signal<const T> u, delta, z;  // z may be absent
  const E* A;                   // (channels, states)
  Mixing<E> B, C;
  const T *D, *delta_bias;  // (channels,) or null
  const E* initial;         // (items, channels, states): the states before the first step; null: zeros
  bool delta_softplus;
  T* out;   // (items, channels, length)
  E* last;  // (items, channels, states) or null
  int threads;
};

template <class T, class E>
struct SelectiveScanAdjoint {
  SelectiveScan<T, E> forward;  // its outputs are null
  Signal<const T> grad;
  const E* grad_last;   // null: zeros
  T *du, *ddelta, *dz;  // contiguous; dz is null if z is
  E *dA, *dB, *dC;      // contiguous, with the shapes of A, B and C
  T *dD, *ddelta_bias;  // null if D and delta_bias are
  E* dinitial;          // null if the initial states are
};

template <class T>
struct CausalConv {
  std::int64_t items, channels, length, taps;
  Signal<const T> x, initial;    // initial: the taps - 1 samples before x, or absent
  const T *weight, *bias;        // (channels, taps); (channels,) or null
  const std::int64_t* segments;  // (items, length) or null: taps apply only within a segment; negative: padding
  bool silu;
  T *out, *final;  // (items, channels, length); (items, channels, taps - 1) or null
  int threads;
};

template <class T>
struct CausalConvAdjoint {
  CausalConv<T> forward;  // its outputs are null
  Signal<const T> grad;
  const T* grad_final;                 // null: zeros
  T *dx, *dweight, *dbias, *dinitial;  // dbias, dinitial are null if the inputs are
};

template <class T>
struct VarlenStates {
  std::int64_t items, channels, states;
  Signal<const T> x;         // packed sequences, no batch axis
  const std::int64_t* ends;  // (items + 1,): item b is [ends[b], ends[b + 1])
  T* out;                    // (items, channels, states)
  int threads;
};

template <class T>
struct VarlenStatesAdjoint {
  VarlenStates<T> forward;  // x is unused, out is null
  std::int64_t length;
  Signal<const T> grad;  // (items, channels, states)
  T* dx;                 // (length, channels)
};

// A strided array (item, head, dim, state); strides are in elements, and 0 for an axis that the array lacks. `at` may be null.
template <class E>
struct Grid {
  E* at = nullptr;
  std::int64_t item = 0, head = 0, dim = 0, state = 0;
};

template <class T>
struct StateStep {
  std::int64_t items, rows, heads, dims, states, groups;
  Grid<const T> state, x, dt, A, B, C, D, z, bias;  // state: rows instead of items; B, C: groups instead of heads
  // Used only if `indexed`; otherwise item b has row b. row_of_item: the row of each item, negative for padding; null without items.
  // item_of_row: the item of each row, negative if it has none; null without rows, and on a GPU, where the kernels compute it.
  const std::int64_t *row_of_item, *item_of_row;
  bool indexed;
  bool softplus;
  T* out;   // (items, heads, dims)
  T* next;  // (rows, heads, dims, states); may be state itself
  int threads;
};

template <class T>
struct StateStepAdjoint {
  StateStep<T> forward;  // its outputs are null
  Grid<const T> grad;
  const T* grad_next;                                     // shape of the states after the step
  T *dstate, *dx, *ddt, *dA, *dB, *dC, *dD, *dz, *dbias;  // contiguous; dD, dz, dbias are null if D, z and the bias are
};

template <class T, class E>
struct ScanKernels {
  void (*selective_scan)(const SelectiveScan<T, E>&);
  void (*selective_scan_adjoint)(const SelectiveScanAdjoint<T, E>&);
};
template <class T>
struct Kernels {
  ScanKernels<T, T> real;
  ScanKernels<T, cplx<T>> complex;
  void (*causal_conv)(const CausalConv<T>&);
  void (*causal_conv_adjoint)(const CausalConvAdjoint<T>&);
  void (*state_step)(const StateStep<T>&);
  void (*state_step_adjoint)(const StateStepAdjoint<T>&);
  // This and the next function are null on a device.
  void (*varlen_states)(const VarlenStates<T>&);
  void (*varlen_states_adjoint)(const VarlenStatesAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::selective
