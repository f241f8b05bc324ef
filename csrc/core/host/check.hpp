// C++ exception types; csrc/py/module.cpp maps them to Python's.
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
