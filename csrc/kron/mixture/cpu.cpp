// Covariance functions and their adjoints. Compiled once per instruction set.
#include "kron/mixture/product.hpp"
#include "kron/mixture/radial.hpp"
#include "kron/mixture/spectral.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

template <class T>
int64_t first_outside(const Range<T>& r) {
  for (int64_t i = 0; i < r.n; ++i) {
    const double x = double(r.x[i]);
    if (!(x - x == 0 && (r.or_equal ? x >= r.minimum : x > r.minimum))) return i;
  }
  return -1;
}

QF_KERNELS(radial<T>, radial_adjoint<T>, spectral<T>, spectral_adjoint<T>, spectral_lags<T>, spectral_lags_adjoint<T>, product<T>,
           product_adjoint<T>, first_outside<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
