// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::delta {

template <class T>
struct DeltaRule {
  const T *q, *k;              // (B, length, heads, K)
  const T* v;                  // (B, length, value_heads, V)
  const T *g, *beta;           // (B, length, value_heads) or null: 0, and 1; with `channels` g is (B, length, value_heads, K)
  const T *erase, *write;      // null, or the gates of GDN-2: (B, length, value_heads, K) of keys that erase, (..., V) of values
  const T *a, *b;              // null, or the vectors of rank two: (B, length, value_heads, K)
  const T* initial;            // (sequences, value_heads, K, V) or null
  const std::int64_t* begins;  // (sequences + 1,): where each sequence begins in the only item; null: each item is a sequence
  T* o;                        // (B, length, value_heads, V)
  T* final;                    // (sequences, value_heads, K, V) or null
  std::int64_t B, sequences, length, heads, value_heads, K, V;
  double scale;
  bool normalizes;  // q and k
  bool channels;    // a decay per channel of the keys
  bool corrects;    // the delta rule; otherwise gated linear attention, x = v
  int threads;
};

template <class T>
struct DeltaRuleAdjoint {
  DeltaRule<T> forward;        // o, final unused
  const T *grad, *grad_final;  // of o and final; the latter may be null
  T *dq, *dk, *dv;             // as q, k, v
  T *dg, *dbeta, *dinitial;    // null if the input is
  T *derase, *dwrite, *da, *db;
};

template <class T>
struct Kernels {
  void (*delta_rule)(const DeltaRule<T>&);
  void (*delta_rule_adjoint)(const DeltaRuleAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::delta
