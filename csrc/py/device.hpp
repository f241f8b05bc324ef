// The device of a call on arrays in GPU memory: the device of the first array, with the caller's stream.
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "core/cuda/device.hpp"

namespace quatrefoil {
namespace py = pybind11;

class CallDevice {
 public:
  // The first `arrays` arguments are arrays, lists of arrays or None. TypeError if the first array is not on a GPU.
  CallDevice(const std::string& function, const py::tuple& given, std::size_t arrays);

 private:
  OnDevice on_;
};

}  // namespace quatrefoil
