// The ABI between bind.cpp and the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::kron::product {

template <class T>
struct Matrix {  // (m, n), row-major
  const T* data;
  std::int64_t m, n;
};

template <class T>
struct Factors {
  const Matrix<T>* list;
  int count;
  bool transpose;  // multiply by the transposed factors
};

template <class T>
struct Product {
  const T* x;  // (B, N)
  T* y;        // (B, M)
  std::int64_t B;
  int threads;
};

template <class T>
struct Adjoint {
  Factors<T> factors;
  const T* x;          // (B, N)
  const T* grad;       // (B, M)
  T* const* dfactors;  // with the shapes of the factors
  T* dx;               // (B, N)
  std::int64_t B;
  int threads;
};

template <class T>
struct Kernels {
  // Packs the factors for the tiles, in one block of memory independent of the caller's.
  void* (*prepare)(const Factors<T>&);
  void (*apply)(const void* prepared, const Product<T>&);
  void (*discard)(void* prepared);
  void (*apply_once)(const Factors<T>&, const Product<T>&);
  void (*adjoint)(const Adjoint<T>&);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::kron::product
