// Prints the best instruction set that this processor supports, for CMake if QUATREFOIL_ISAS is "native". It uses the library's own
// detection, so that the build and the import agree.
#include <cstdio>

#include "core/host/isa.cpp"

int main() {
  const auto isas = quatrefoil::isas_supported();
  std::fputs(quatrefoil::name(isas.empty() ? quatrefoil::isas_built().back() : isas.front()), stdout);
}
