// Where a call on arrays in a GPU's memory runs: on the device of the first of them, in the caller's stream there.
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "core/cuda/device.hpp"

namespace quatrefoil {
namespace py = pybind11;

class CallDevice {
 public:
  // The first `arrays` of the arguments are arrays, lists of them or None. TypeError where the first one is not on a GPU.
  CallDevice(const std::string& function, const py::tuple& given, std::size_t arrays);

 private:
  OnDevice on_;
};

}  // namespace quatrefoil
