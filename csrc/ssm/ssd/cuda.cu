// Mamba-2's scan and its gradient on a GPU: README (1)-(15). Chunks run in parallel as products of matrices; a separate launch passes the
// states from one chunk to the next.
#include "ssm/ssd/cuda.hpp"
#include "ssm/ssd/cuda_adjoint.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

template <class T>
void chunk_scan(const ChunkScan<T>& p) {
  const Buffers<T> buffers(p);
  if (p.varlen) set_zero(p.varlen, p.sequences * p.heads * p.channels * p.states);  // for sequences without steps
  put_states(buffers);
  launch(put_outputs<T>, buffers.head_chunks(), kThreads, sizeof(Shared<T>), buffers.scan, GradIn<T>{}, false, nullptr, nullptr);
  const int64_t states = p.heads * p.channels * p.states;
  buffers.check(p.out, p.items * p.length * p.heads * p.channels);
  buffers.check(p.final, p.items * states), buffers.check(p.varlen, p.sequences * states);
}

extern const Table kernels;
#if defined(QF_EMULATOR)  // the emulator compares them with the host in double precision
const Table kernels = {{chunk_scan<float>, chunk_scan_adjoint<float>}, {chunk_scan<double>, chunk_scan_adjoint<double>}};
#else  // double precision uses the composition: its kernels would add 0.2 MB to the module
const Table kernels = {{chunk_scan<float>, chunk_scan_adjoint<float>}, {nullptr, nullptr}};
#endif
extern const char* const ops;
const char* const ops = "mamba_chunk_scan_combined mamba_chunk_scan_combined_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
