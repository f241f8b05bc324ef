#include "py/caster.hpp"
namespace quatrefoil { void register_wos(py::module_&) {} }
