// Views -> args, and the GIL released around the kernels. Computes nothing. One header a noun.
#include "core/isa.hpp"
#include "ssm/args.hpp"

QF_TABLE(ssm)

#include "ssm/bind_convolution.hpp"
#include "ssm/bind_mamba.hpp"
#include "ssm/bind_scan.hpp"

namespace quatrefoil {

void register_ssm(py::module_& m) {
  register_convolution(m);
  register_scan(m);
  register_mamba(m);
}

}  // namespace quatrefoil
