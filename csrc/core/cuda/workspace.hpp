// Temporary device memory of a call, allocated and freed in the order of its stream, so that nothing waits.
#pragma once
#include "core/cuda/launch.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

template <class T>
class Workspace {  // n uninitialised numbers
 public:
  explicit Workspace(int64_t n) {
    if (n > 0) check(cudaMallocAsync(reinterpret_cast<void**>(&data_), std::size_t(n) * sizeof(T), call_stream));
  }
  ~Workspace() {
    if (data_) static_cast<void>(cudaFreeAsync(data_, call_stream));
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  operator T*() const { return data_; }

 private:
  T* data_ = nullptr;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
