// A strided array in the bindings: address, shape, strides, dtype.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/host/check.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil {

enum class Dtype : std::uint8_t { f32, f64, c64, c128, i64, b8 };

inline int item_size(Dtype dtype) {
  constexpr int sizes[] = {4, 8, 8, 16, 8, 1};
  return sizes[int(dtype)];
}

inline const char* dtype_name(Dtype dtype) {
  constexpr const char* names[] = {"float32", "float64", "complex64", "complex128", "int64", "bool"};
  return names[int(dtype)];
}
inline bool is_complex(Dtype dtype) { return dtype == Dtype::c64 || dtype == Dtype::c128; }
inline Dtype real_of(Dtype dtype) { return dtype == Dtype::c64 ? Dtype::f32 : dtype == Dtype::c128 ? Dtype::f64 : dtype; }

template <class E>
constexpr Dtype dtype_of() {
  using T = std::remove_const_t<E>;
  if constexpr (std::is_same_v<T, float>)
    return Dtype::f32;
  else if constexpr (std::is_same_v<T, double>)
    return Dtype::f64;
  else if constexpr (std::is_same_v<T, cplx<float>>)
    return Dtype::c64;
  else if constexpr (std::is_same_v<T, cplx<double>>)
    return Dtype::c128;
  else {
    static_assert(std::is_same_v<T, std::int64_t>);
    return Dtype::i64;
  }
}

struct View {
  static constexpr int kMaxRank = 16;
  void* data = nullptr;
  Dtype dtype = Dtype::f64;
  int rank = 0;
  std::int64_t shape[kMaxRank] = {};
  std::int64_t stride[kMaxRank] = {};  // in items
  bool present = false;                // false for None

  std::int64_t size() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  std::int64_t dim(int from_end) const { return from_end <= rank ? shape[rank - from_end] : 1; }  // dim(1): the last axis
  std::int64_t batch(int inner) const {  // the product of all axes before the last `inner` ones
    std::int64_t n = 1;
    for (int i = 0; i < rank - inner; ++i) n *= shape[i];
    return n;
  }
  bool contiguous() const {
    if (size() == 0) return true;
    std::int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace quatrefoil
