// Converts Python arrays to Views: NumPy arrays, and torch tensors through DLPack's C exchange table, without torch's headers or libraries.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "core/host/view.hpp"

namespace quatrefoil {
namespace py = pybind11;

// Borrowed: valid while the array lives. Throws for arrays without memory (fake or traced tensors) and for anything but plain CPU arrays.
View strided_view(py::handle array, const char* name);

// A view and the owner of its memory; absent for None.
class OwnedView : public View {
 public:
  explicit operator bool() const { return present; }

 protected:
  py::object owner_;
};

// A C-contiguous, aligned argument: the caller's memory, or a copy owned by this object.
class Input : public OwnedView {
 public:
  Input(py::handle array, const char* name);

  // The data, or nullptr if the argument is absent.
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// An aligned argument with any strides: the caller's memory, or an aligned copy.
class Strided : public OwnedView {
 public:
  Strided(py::handle array, const char* name);
};

// A C-contiguous array to write to.
class Output : public OwnedView {
 public:
  Output(py::handle array, const char* name);
};

}  // namespace quatrefoil
