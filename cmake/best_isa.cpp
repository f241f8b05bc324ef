// Prints the best instruction set that this processor runs; CMake asks when QUATREFOIL_ISAS is "native". The detection is the library's
// own, so that the build and the import agree.
#include <cstdio>

#include "core/host/isa.cpp"

int main() {
  const auto found = quatrefoil::isas_here();
  std::fputs(quatrefoil::name(found.empty() ? quatrefoil::isas_built().back() : found.front()), stdout);
}
