// Memory for results and workspace. The system zeroes the pages of a large block at first touch and reclaims them as soon as the block is
// freed. That takes a quarter of the time of a streaming call, so the most recent large blocks are cached.
#pragma once
#include "core/run/interrupt.hpp"

namespace quatrefoil {

constexpr std::size_t kSmallestCached = 256 << 10;  // bytes: malloc reuses smaller blocks itself
constexpr std::size_t kMaxCached = 128u << 20;      // bytes of all cached blocks; the system may reclaim those of 4 MiB or more

// Returns 64-byte aligned, uninitialised memory. Throws std::bad_alloc.
void* allocate(std::size_t bytes);
void release(void*) noexcept;

// Requests huge pages for a large, untouched array that is not from `allocate`.
void advise_huge_pages(void* data, std::size_t bytes) noexcept;

inline namespace QF_ISA {

constexpr double kZeroNs = 0.25;  // per untouched byte

template <class T>
void set_zero(T* x, int64_t n) {  // x may be null
  if (!x) return;
  in_parts(0, n, kZeroNs * sizeof(T),
           [&](int64_t begin, int64_t end) { __builtin_memset(x + begin, 0, std::size_t(end - begin) * sizeof(T)); });
}

template <class T>
class Scratch {  // n uninitialised elements
 public:
  explicit Scratch(int64_t n) : data_(static_cast<T*>(allocate(std::size_t(n > 0 ? n : 1) * sizeof(T)))) {}
  ~Scratch() { release(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() const { return data_; }
  void give() { data_ = nullptr; }  // the new owner of the pointer releases it

 private:
  T* data_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
