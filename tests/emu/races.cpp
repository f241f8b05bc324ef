// races.cpp WHICH: launches for test_races.py. ThreadSanitizer must report races between the blocks of a launch, and nothing else.
#include <cstring>

#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"

namespace quatrefoil {

constexpr int kThreads = 64, kBlocks = 3;

// Each block writes numbers of its own, by way of shared memory.
static __global__ void write_own(int* to) {
  QF_SHARED(int, numbers);
  numbers[threadIdx.x] = int(blockIdx.x);
  __syncthreads();
  to[blockIdx.x * kThreads + threadIdx.x] = numbers[kThreads - 1 - threadIdx.x];
}
// Reads what another block of an earlier launch has written.
static __global__ void read_others(const int* from, int* to) {
  to[blockIdx.x * kThreads + threadIdx.x] = from[(blockIdx.x + 1) % kBlocks * kThreads + threadIdx.x];
}
static __global__ void write_same(int* to) {
  if (threadIdx.x == 0) to[0] = 1;
}
// A barrier orders the threads of a block, not blocks.
static __global__ void write_then_read(int* to) {
  if (threadIdx.x == 0) to[blockIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 1) to[kBlocks + blockIdx.x] = to[(blockIdx.x + 1) % kBlocks];
}
static __global__ void count(unsigned long long* to) { atomicAdd(to, 1ull); }

int run(const char* which) {
  static int numbers[kBlocks * kThreads], others[kBlocks * kThreads];
  unsigned long long sum = 0;
  const std::size_t shared = kThreads * sizeof(int);
  const auto is = [&](const char* name) { return std::strcmp(which, name) == 0; };
  if (is("ordered")) {
    for (int i = 0; i < 2; ++i) launch(write_own, kBlocks, kThreads, shared, static_cast<int*>(numbers));
    launch(read_others, kBlocks, kThreads, 0, static_cast<const int*>(numbers), static_cast<int*>(others));
    launch(count, kBlocks, kThreads, 0, &sum);
    return sum == kBlocks * kThreads && others[0] == 1 ? 0 : 1;
  }
  if (is("write_same")) launch(write_same, kBlocks, kThreads, 0, static_cast<int*>(numbers));
  if (is("write_then_read")) launch(write_then_read, kBlocks, kThreads, 0, static_cast<int*>(numbers));
  return 0;
}

}  // namespace quatrefoil

int main(int, char** arguments) { return quatrefoil::run(arguments[1]); }
