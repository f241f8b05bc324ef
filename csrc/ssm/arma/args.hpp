// What the bindings hand to the kernels: pointers and sizes; everything is contiguous.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::arma {

template <class T>
struct Filter {
  std::int64_t rows, length, order;  // order: the states of a row
  // (taps,) for all rows, or (rows, taps): then `a_row`, `b_row` are the taps, else 0
  const T *b, *a;
  std::int64_t b_taps, a_taps, b_row, a_row;
  const T *x, *start;  // (rows, length); (rows, order) or null
  T *y, *final;        // (rows, length); (rows, order) or null
  int threads;
};

template <class T>
struct FilterAdjoint {
  Filter<T> forward;           // its outputs are null
  const T *grad, *grad_final;  // (rows, length); (rows, order) or null
  T *db, *da, *dx, *dstart;    // as what they are gradients of; dstart null where there is no start
};

template <class T>
struct Kernels {
  void (*filter)(const Filter<T>&);
  void (*filter_adjoint)(const FilterAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::arma
