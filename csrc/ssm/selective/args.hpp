// What the bindings hand to the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::selective {

// (item, channel, time) seen through strides, in numbers; `at` may be null.
template <class E>
struct Signal {
  E* at = nullptr;
  std::int64_t item = 0, channel = 0, time = 0;
};

// B or C of a selective scan. If it varies in time: (item, group, state, time), a group for every channels / groups consecutive channels.
// If not: (channel, state), seen as one group a channel with strides of 0 along items and time.
template <class E>
struct Mixing {
  const E* at = nullptr;
  std::int64_t item = 0, group = 0, state = 0, time = 0;
  std::int64_t groups = 1;
  bool varies = true;
};

template <class T, class E>
struct SelectiveScan {  // E: the numbers of the state, T or cplx<T>
  std::int64_t items, channels, states, length;
  Signal<const T> u, delta, z;  // z may be absent
  const E* A;                   // (channels, states)
  Mixing<E> B, C;
  const T *D, *delta_bias;  // (channels,) or null
  const E* initial;         // (items, channels, states), the states before the first step; null: zeros
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
  T *du, *ddelta, *dz;  // contiguous; dz null where z is
  E *dA, *dB, *dC;      // contiguous, shaped as their inputs
  T *dD, *ddelta_bias;  // null where D and delta_bias are
  E* dinitial;          // null where the initial states are
};

template <class T>
struct CausalConv {
  std::int64_t items, channels, length, taps;
  Signal<const T> x, initial;    // initial: the taps - 1 samples before x, or absent
  const T *weight, *bias;        // (channels, taps); (channels,) or null
  const std::int64_t* segments;  // (items, length) or null: a tap counts only within its segment; below 0: padding
  bool silu;
  T *out, *final;  // (items, channels, length); (items, channels, taps - 1) or null
  int threads;
};

template <class T>
struct CausalConvAdjoint {
  CausalConv<T> forward;  // its outputs are null
  Signal<const T> grad;
  const T* grad_final;                 // null: zeros
  T *dx, *dweight, *dbias, *dinitial;  // dbias, dinitial null where the inputs are
};

template <class T>
struct VarlenStates {
  std::int64_t items, channels, states;
  Signal<const T> x;         // no batch axis: packed sequences
  const std::int64_t* ends;  // (items + 1,): item b is [ends[b], ends[b + 1])
  T* out;                    // (items, channels, states)
  int threads;
};

template <class T>
struct VarlenStatesAdjoint {
  VarlenStates<T> forward;  // x and out are null
  std::int64_t length;
  Signal<const T> grad;  // (items, channels, states)
  T* dx;                 // (length, channels)
};

// (item, head, dim, state) seen through strides, in numbers; 0 where there is no such axis. `at` may be null.
template <class E>
struct Grid {
  E* at = nullptr;
  std::int64_t item = 0, head = 0, dim = 0, state = 0;
};

template <class T>
struct StateStep {
  std::int64_t items, rows, heads, dims, states, groups;
  Grid<const T> state, x, dt, A, B, C, D, z, bias;  // state: a row in the place of an item; B, C: a group in that of a head
  // The row of every item, below 0: padding; and the item of every row, below 0: none, which a device finds by itself. Null: item b has
  // row b; of no items or no rows they may be null where the items choose, too.
  const std::int64_t *row_of_item, *item_of_row;
  bool chooses;
  bool softplus;
  T* out;   // (items, heads, dims)
  T* next;  // (rows, heads, dims, states), perhaps the memory of the state
  int threads;
};

template <class T>
struct StateStepAdjoint {
  StateStep<T> forward;  // its outputs are null
  Grid<const T> grad;
  const T* grad_next;                                     // as the states after the step
  T *dstate, *dx, *ddt, *dA, *dB, *dC, *dD, *dz, *dbias;  // contiguous; dD, dz, dbias null where D, z and the bias are
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
  // null on a device, as the one after it
  void (*varlen_states)(const VarlenStates<T>&);
  void (*varlen_states_adjoint)(const VarlenStatesAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::selective
