// The gated delta rule and its gradient on a GPU: README (1)-(18). Chunks run in parallel as products of matrices; a separate launch passes
// the states from one chunk to the next.
#include "ssm/delta/cuda_adjoint.hpp"
#include "ssm/delta/cuda_steps.hpp"

namespace quatrefoil::ssm::delta {
inline namespace QF_ISA {

template <class T>
void delta_rule(const DeltaRule<T>& p) {
  const int64_t results = p.B * p.length * p.value_heads * p.V;
  if (p.K == 0 || p.V == 0 || p.value_heads == 0) return set_zero(p.o, results);
  const Buffers<T> buffers(p, kFewTokens);
  const Call<T>& s = buffers.call;
  if (p.begins || p.length <= kFewTokens) put_steps(s);
  if (s.chunks) {
    const int64_t tiles = tiles_of(p.V);
    put_states(buffers);
    launch(put_outputs<T>, buffers.head_chunks() * tiles, kThreads, sizeof(Tile<T>), s, tiles);
  }
  buffers.check(p.o, results), buffers.check(p.final, p.sequences * p.value_heads * p.K * p.V);
}

extern const Table kernels;
#if defined(QF_EMULATOR)  // the emulator compares them with the host in double precision
const Table kernels = {{delta_rule<float>, delta_rule_adjoint<float>}, {delta_rule<double>, delta_rule_adjoint<double>}};
#else  // double precision uses the composition: its kernels would be just as large
const Table kernels = {{delta_rule<float>, delta_rule_adjoint<float>}, {nullptr, nullptr}};
#endif
extern const char* const ops;
const char* const ops = "chunk_gated_delta_rule chunk_gated_delta_rule_vjp chunk_simple_gla chunk_simple_gla_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::delta
