// From Python arrays to Views: NumPy arrays, and torch tensors through DLPack's C exchange table, without torch's headers or libraries.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "core/host/view.hpp"

namespace quatrefoil {
namespace py = pybind11;

// Borrowed: valid while the array lives. Refuses what has no memory (a fake or traced tensor) and anything but plain CPU numbers.
View strided_view(py::handle array, const char* name);

// A C-contiguous, aligned argument: the caller's memory, or a copy that lives as long as this object. None gives an absent input.
class Input : public View {
 public:
  Input(py::handle array, const char* name);
  explicit operator bool() const { return present_; }

  // The numbers, or nullptr where the argument is absent.
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }

 private:
  py::object owner_;
  bool present_;
};

// An argument with any strides whose numbers are aligned: the caller's memory, or an aligned copy. None gives an empty view.
class Strided : public View {
 public:
  Strided(py::handle array, const char* name);

 private:
  py::object owner_;
};

// A C-contiguous array to write to. None gives an absent output.
class Output : public View {
 public:
  Output(py::handle array, const char* name);
  explicit operator bool() const { return present_; }

 private:
  bool present_;
};

}  // namespace quatrefoil
