// Views -> args, and the GIL released around the kernels. Computes nothing. One header a noun.
#include "core/isa.hpp"
#include "ssm/args.hpp"

QF_TABLE(ssm)

#include "ssm/bind_cauchy.hpp"
#include "ssm/bind_convolution.hpp"
#include "ssm/bind_dplr.hpp"
#include "ssm/bind_kalmanet.hpp"
#include "ssm/bind_kernel.hpp"
#include "ssm/bind_layer.hpp"
#include "ssm/bind_mamba.hpp"
#include "ssm/bind_s5.hpp"
#include "ssm/bind_scan.hpp"
#include "ssm/bind_vandermonde.hpp"

namespace quatrefoil {

void register_ssm(py::module_& m) {
  register_cauchy(m);
  register_convolution(m);
  register_dplr(m);
  register_kalmanet(m);
  register_kernel(m);
  register_layer(m);
  register_mamba(m);
  register_s5(m);
  register_scan(m);
  register_vandermonde(m);
}

}  // namespace quatrefoil
