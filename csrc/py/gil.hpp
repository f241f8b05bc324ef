// Releasing and taking the GIL. At exit, Python up to 3.13 ends every other thread that requests the GIL by unwinding its stack, which
// destructors and kernels cannot survive; later versions let it wait forever, and so do we.
#pragma once
#include <pybind11/pybind11.h>
#include <unistd.h>

namespace quatrefoil {
namespace py = pybind11;

// Calls f(), which may call Python but must not create objects whose destructors call Python.
template <class F>
auto wait_at_exit(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (...) {  // Python throws no C++ exceptions
    for (;;) pause();
  }
}

class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    wait_at_exit([this] { PyEval_RestoreThread(state_); });
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* const state_;
};

class GilHeld {  // within its scope only wait_at_exit may release the GIL
 public:
  GilHeld() : state_(wait_at_exit([] { return PyGILState_Ensure(); })) {}
  ~GilHeld() { PyGILState_Release(state_); }
  GilHeld(const GilHeld&) = delete;
  GilHeld& operator=(const GilHeld&) = delete;

 private:
  const PyGILState_STATE state_;
};

}  // namespace quatrefoil
