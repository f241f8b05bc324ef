// What the emulator's module has beside the kernels: the order in which threads run, and kernels with faults that it must see. Arrays are
// those of the host.
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "py/device.hpp"

namespace quatrefoil {

CallDevice::CallDevice(const std::string&, const py::tuple&, std::size_t) : on_(0, nullptr) {}

namespace {

using Kernel = void (*)();

__global__ void uniform() {  // no fault: whole warps, all threads at each barrier
  for (unsigned i = 0; i < 3; ++i)
    if (blockDim.x > i) __syncthreads();
  static_cast<void>(shuffle_up(threadIdx.x, 1));
}
__global__ void returns_before() {
  if (threadIdx.x == 70) return;
  __syncthreads();
}
__global__ void skips_the_last() {
  __syncthreads();
  if (threadIdx.x / kWarp != 2) __syncthreads();
}
__global__ void skips_the_first() {
  if (threadIdx.x != 0) __syncthreads();
  __syncthreads();
}
__global__ void waits_elsewhere() {  // as often as the others
  if (threadIdx.x < kWarp)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void waits_once_more() {
  for (unsigned i = 0; i < 2 + threadIdx.x / 64; ++i) __syncthreads();
}
__global__ void barrier_against_shuffle() {
  if (threadIdx.x % kWarp < 5)
    __syncthreads();
  else
    static_cast<void>(shuffle_up(threadIdx.x, 1));
}
__global__ void shuffle_of_some() {
  if (threadIdx.x % kWarp > 3) static_cast<void>(shuffle_xor(threadIdx.x, 1));
}

}  // namespace

void bind_emulator(py::module_& m) {
  m.def("run_in_order", [](int order, unsigned seed) { emulator::order = emulator::Order(order), emulator::seed = seed; });
  const std::pair<const char*, Kernel> kernels[] = {
      {"uniform", uniform},
      {"returns before", returns_before},
      {"skips the last", skips_the_last},
      {"skips the first", skips_the_first},
      {"waits elsewhere", waits_elsewhere},
      {"waits once more", waits_once_more},
      {"barrier against shuffle", barrier_against_shuffle},
      {"shuffle of some", shuffle_of_some},
  };
  py::dict planted;
  for (const auto& [name, kernel] : kernels) planted[name] = py::cpp_function([kernel = kernel] { launch(kernel, 2, 96, 0); });
  m.attr("planted") = planted;
}

}  // namespace quatrefoil
