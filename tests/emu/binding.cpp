// What the emulator's module has in addition to the kernels: the order in which threads run. Arrays are those of the host.
#include "core/cuda/launch.hpp"
#include "py/device.hpp"

namespace quatrefoil {

CallDevice::CallDevice(const std::string&, const py::tuple&, std::size_t) : on_(0, nullptr) {}

void bind_emulator(py::module_& m) {
  m.def("run_in_order", [](int order, unsigned seed) { emulator::order = emulator::Order(order), emulator::seed = seed; });
}

}  // namespace quatrefoil
