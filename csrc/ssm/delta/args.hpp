// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::delta {

template <class T>
struct DeltaRule {
  const T *q, *k;              // (B, length, heads, K)
  const T* v;                  // (B, length, value_heads, V)
  const T *g, *beta;           // (B, length, value_heads) or null (0 and 1); if `channels`, g is (B, length, value_heads, K)
  const T *erase, *write;      // null, or GDN-2's gates of the erase keys, (B, length, value_heads, K), and of the values, (..., V)
  const T *a, *b;              // null, or the vectors of rank two: (B, length, value_heads, K)
  const T* initial;            // (sequences, value_heads, K, V) or null
  const std::int64_t* begins;  // (sequences + 1,): the start of each sequence in the only item; null: each item is a sequence
  T* o;                        // (B, length, value_heads, V)
  T* final;                    // (sequences, value_heads, K, V) or null
  std::int64_t B, sequences, length, heads, value_heads, K, V;
  double scale;
  bool normalizes;  // whether to normalise q and k
  bool channels;    // whether there is one decay per key channel
  bool corrects;    // whether to apply the delta rule; otherwise gated linear attention, x = v
  int threads;
};

template <class T>
struct DeltaRuleAdjoint {
  DeltaRule<T> forward;        // o, final unused
  const T *grad, *grad_final;  // gradients of o and final; grad_final may be null
  T *dq, *dk, *dv;             // same shapes as q, k, v
  T *dg, *dbeta, *dinitial;    // null if the corresponding input is
  T *derase, *dwrite, *da, *db;
};

template <class T>
struct Kernels {
  void (*delta_rule)(const DeltaRule<T>&);
  void (*delta_rule_adjoint)(const DeltaRuleAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::delta
