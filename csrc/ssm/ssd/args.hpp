// Arguments of the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::ssd {

// A strided array (item, time, head, channel); strides are in elements. `at` may be null.
template <class T>
struct Signal {
  const T* at = nullptr;
  std::int64_t item = 0, time = 0, head = 0, channel = 0;
};

template <class T>
struct ChunkScan {
  std::int64_t items, length, heads, channels, groups, states;  // channels: per head
  std::int64_t steps;                                           // maximum per chunk
  Signal<T> x, dt, z;                                           // dt has no channels; z is optional
  const T *A, *B, *C;                                           // (heads,), (items, length, groups, states) twice
  const T *D, *dt_bias, *initial;                               // optional; initial (items, heads, channels, states)
  bool D_of_channels;                                           // D is (heads, channels), not (heads,)
  const std::int64_t *seq_idx, *cu_seqlens;                     // (items, length), (sequences + 1,) or null
  std::int64_t sequences;
  bool softplus;
  T dt_min, dt_max;         // step sizes are clipped to these
  T *out, *final, *varlen;  // shape of x; (items, heads, channels, states) or null; (sequences, heads, channels, states) or null
  int threads;
};

template <class T>
struct ChunkScanAdjoint {
  ChunkScan<T> forward;  // its outputs are null
  Signal<T> grad;
  const T *grad_final, *grad_varlen;                           // null: zeros
  T *dx, *ddt, *dA, *dB, *dC, *dD, *dz, *ddt_bias, *dinitial;  // contiguous, with the shapes of the inputs; the last four may be null
};

template <class T>
struct Kernels {
  void (*chunk_scan)(const ChunkScan<T>&);
  void (*chunk_scan_adjoint)(const ChunkScanAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::ssd
