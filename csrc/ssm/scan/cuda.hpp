// Scans on a GPU for cuda.cu files of the nouns that build on them: launches of kernels that are compiled with cuda.cu of this noun alone.
#pragma once
#include "ssm/scan/args.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

// README (1)
template <class E>
void linear(const Linear<E>& p);
// (2), (3), of states that are in p.da; p.b is not read.
template <class E>
void backward(const LinearAdjoint<E>& p);

extern template void linear(const Linear<cplx<float>>&);
extern template void linear(const Linear<cplx<double>>&);
extern template void backward(const LinearAdjoint<cplx<float>>&);
extern template void backward(const LinearAdjoint<cplx<double>>&);

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
