// Temporary device memory of a call, part of the call's single block. Kernels use it in stream order, so no synchronisation is needed.
#pragma once
#include "core/cuda/launch.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

template <class T>
class Workspace {  // n uninitialised elements; null if n is 0
 public:
  explicit Workspace(int64_t n)
      : bytes_(n > 0 ? std::size_t(n) * sizeof(T) : 0), data_(bytes_ ? static_cast<T*>(call_memory.push(bytes_)) : nullptr) {}
  ~Workspace() {
    if (data_) call_memory.pop(bytes_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  operator T*() const { return data_; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
