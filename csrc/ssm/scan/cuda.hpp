// Scans on a GPU, for other methods' cuda.cu files. The kernels are compiled only with this method's cuda.cu.
#pragma once
#include "ssm/scan/args.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

// README (1)
template <class E>
void linear(const Linear<E>& p);
// (2), (3), for states in p.da; p.b is not read.
template <class E>
void backward(const LinearAdjoint<E>& p);

extern template void linear(const Linear<cplx<float>>&);
extern template void linear(const Linear<cplx<double>>&);
extern template void backward(const LinearAdjoint<cplx<float>>&);
extern template void backward(const LinearAdjoint<cplx<double>>&);

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
