// Views -> args, and the GIL released around the kernels. Computes nothing. One header a noun.
#include "core/isa.hpp"
#include "ssm/args.hpp"

QF_TABLE(ssm)

#include "ssm/bind_cauchy.hpp"
#include "ssm/bind_convolution.hpp"
#include "ssm/bind_dplr.hpp"
#include "ssm/bind_kernel.hpp"
#include "ssm/bind_scan.hpp"
#include "ssm/bind_vandermonde.hpp"

namespace quatrefoil {

void register_ssm(py::module_& m) {
  register_convolution(m);
  register_scan(m);
  register_kernel(m);
  register_vandermonde(m);
  register_cauchy(m);
  register_dplr(m);
}

}  // namespace quatrefoil
