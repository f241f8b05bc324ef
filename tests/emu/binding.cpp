// Functions of the emulator's module in addition to the kernels: they set the order of threads, and return the records of the fake
// runtime. Arrays are in host memory.
#include <pybind11/stl.h>

#include "core/cuda/launch.hpp"
#include "py/device.hpp"

namespace quatrefoil {

OnDevice enter_device(const std::string& function, py::handle) { return OnDevice(0, nullptr, function); }

void bind_emulator(py::module_& m) {
  m.def("run_in_order", [](int order, unsigned seed) { emulator::order = emulator::Order(order), emulator::seed = seed; });
  m.def("fail_next_launch", [] { emulator::runtime.error = cudaErrorIllegalAddress; });
  m.def("pool", [] { return py::make_tuple(emulator::runtime.allocations, emulator::runtime.threshold); });
  // A call on `device` while `current` is the current device -> the current device afterwards, and the devices with contexts.
  m.def("call_on", [](int current, int device, std::set<int> contexts) {
    emulator::Runtime& r = emulator::runtime;
    r.device = current, r.contexts = std::move(contexts);
    { const OnDevice on(device, nullptr, ""); }
    return py::make_tuple(std::exchange(r.device, 0), r.contexts);
  });
}

}  // namespace quatrefoil
