// A strided array as the bindings see it: where, how large, of what numbers.
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
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr Dtype value = Dtype::f32;
};
template <>
struct DtypeOf<double> {
  static constexpr Dtype value = Dtype::f64;
};
template <>
struct DtypeOf<cplx<float>> {
  static constexpr Dtype value = Dtype::c64;
};
template <>
struct DtypeOf<cplx<double>> {
  static constexpr Dtype value = Dtype::c128;
};
template <>
struct DtypeOf<std::int64_t> {
  static constexpr Dtype value = Dtype::i64;
};
template <class E>
constexpr Dtype dtype_of() {
  return DtypeOf<std::remove_const_t<E>>::value;
}

struct View {
  static constexpr int kMaxRank = 16;
  void* data = nullptr;
  Dtype dtype = Dtype::f64;
  int rank = 0;
  std::int64_t shape[kMaxRank] = {};
  std::int64_t stride[kMaxRank] = {};  // in items
  bool present = false;                // None is an absent array

  std::int64_t size() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  // The axis counted from the end: dim(1) is the last.
  std::int64_t dim(int from_end) const { return from_end <= rank ? shape[rank - from_end] : 1; }
  // The product of all axes before the last `inner` ones.
  std::int64_t batch(int inner) const {
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
