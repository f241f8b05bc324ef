// Errors as C++ types, raised where they are found and mapped to Python's in one place (csrc/py/module.cpp).
#pragma once
#include <stdexcept>
#include <string>

namespace quatrefoil {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ValueError : Error {
  using Error::Error;
};
struct TypeError : Error {
  using Error::Error;
};
struct LinAlgError : Error {
  using Error::Error;
};

// Memory safety of a binding, no more: the Python validator has already said it better.
inline void require(bool holds, const char* function, const char* what) {
  if (!holds) throw ValueError(std::string(function) + ": " + what);
}

}  // namespace quatrefoil
