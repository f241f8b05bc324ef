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

}  // namespace quatrefoil
