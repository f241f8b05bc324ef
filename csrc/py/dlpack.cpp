#include "py/dlpack.hpp"

namespace quatrefoil::dlpack {
namespace py = pybind11;

thread_local Seen* Seen::current = nullptr;

const ExchangeApi* exchange_api(PyTypeObject* type) {
  static thread_local PyTypeObject* known = nullptr;
  static thread_local const ExchangeApi* api = nullptr;
  if (type != known) {
    const py::handle t(reinterpret_cast<PyObject*>(type));
    api = nullptr;
    if (py::hasattr(t, "__dlpack_c_exchange_api__")) {
      const py::object capsule = t.attr("__dlpack_c_exchange_api__");
      api = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
      if (!api) throw py::error_already_set();
      if (api->header.version.major != 1) api = nullptr;
    }
    known = type;
  }
  return api;
}

}  // namespace quatrefoil::dlpack
