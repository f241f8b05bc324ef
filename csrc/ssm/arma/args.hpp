// Arguments of the kernels: pointers and sizes; all arrays are contiguous.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::arma {

template <class T>
struct Filter {
  std::int64_t rows, length, order;  // order: states per row
  // (taps,) shared by all rows, with `a_row`, `b_row` = 0; or (rows, taps), with `a_row`, `b_row` = taps
  const T *b, *a;
  std::int64_t b_taps, a_taps, b_row, a_row;
  const T *x, *start;  // (rows, length); (rows, order) or null
  T *y, *final;        // (rows, length); (rows, order) or null
  int threads;
};

template <class T>
struct FilterAdjoint : Filter<T> {  // y and final unused
  const T *grad, *grad_final;       // (rows, length); (rows, order) or null
  T *db, *da, *dx, *dstart;         // shaped like the inputs; dstart is null if start is
};

template <class T>
struct Kernels {
  void (*filter)(const Filter<T>&);
  void (*filter_adjoint)(const FilterAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::arma
