// The GIL, given back and taken. At its end Python up to 3.13 ends every other thread that asks for the GIL by unwinding its stack, through
// destructors and kernels that can bear neither; later versions let it wait for ever, and so do we.
#pragma once
#include <pybind11/pybind11.h>
#include <unistd.h>

namespace quatrefoil {
namespace py = pybind11;

// f(), which calls Python and makes no object whose destructor does.
template <class F>
auto wait_at_exit(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (...) {  // no exception of C++ comes from Python
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

class GilHeld {  // nothing in its scope but wait_at_exit gives the GIL back
 public:
  GilHeld() : state_(wait_at_exit([] { return PyGILState_Ensure(); })) {}
  ~GilHeld() { PyGILState_Release(state_); }
  GilHeld(const GilHeld&) = delete;
  GilHeld& operator=(const GilHeld&) = delete;

 private:
  const PyGILState_STATE state_;
};

}  // namespace quatrefoil
