// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/ssd/args.hpp"

QF_TABLE(ssm, ssd)

namespace quatrefoil::ssm::ssd {
namespace {

template <class T>
Signal<T> signal(const ShapeChecker::CheckedArray& array) {
  const View& v = array.view();
  return {array, v.stride[0], v.stride[1], v.stride[2], v.rank > 3 ? v.stride[3] : 0};
}

template <class T>
ChunkScan<T> inputs(Arguments& call, std::int64_t steps, bool softplus, double dt_min, double dt_max, bool varlen, int threads) {
  ChunkScan<T> p{};
  p.x = signal<T>(call.strided("x", "B L H P")), p.dt = signal<T>(call.strided("dt", "B L H"));
  p.A = call.input("A", "H"), p.B = call.input("B", "B L G N"), p.C = call.input("C", "B L G N");
  p.D_of_channels = call.peek(5).rank == 2;
  p.D = call.optional_input("D", p.D_of_channels ? "H P" : "H");
  p.z = signal<T>(call.optional_strided("z", "B L H P"));
  p.dt_bias = call.optional_input("dt_bias", "H");
  p.initial = call.optional_input("initial_states", "B H P N");
  p.seq_idx = call.optional_input("seq_idx", "B L");
  const auto cuts = call.optional_input("cu_seqlens", "K");
  p.cu_seqlens = cuts;
  p.items = call["B"], p.length = call["L"], p.heads = call["H"], p.channels = call["P"];
  p.groups = call["G"], p.states = call["N"];
  call.require(p.groups > 0 && p.heads % p.groups == 0, "the number of heads must be a multiple of the number of groups of B and C");
  call.require(steps > 0, "chunk_size must be at least 1");
  if (p.cu_seqlens) {
    call.require(cuts.view().shape[0] > 0, "cu_seqlens must not be empty");
    call.require(p.items == 1, "with cu_seqlens the batch size must be 1");
    p.sequences = cuts.view().shape[0] - 1;
#if !defined(QF_DEVICE)  // kernels on a device check the values themselves
    bool ascends = p.cu_seqlens[0] == 0 && p.cu_seqlens[p.sequences] == p.length;
    for (std::int64_t i = 0; i < p.sequences; ++i) ascends = ascends && p.cu_seqlens[i] <= p.cu_seqlens[i + 1];
    call.require(ascends, "cu_seqlens must start with 0, never decrease, and end with the length");
#endif
  }
  call.require(!varlen || p.cu_seqlens, "varlen states require cu_seqlens");
  p.steps = steps, p.softplus = softplus, p.dt_min = T(dt_min), p.dt_max = T(dt_max), p.threads = threads;
  call.size("S", p.sequences);
  return p;
}

void mamba_chunk_scan_combined(Arguments& call, std::int64_t steps, bool softplus, double dt_min, double dt_max, bool final, bool varlen,
                               int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    call.require(kernels<T>().chunk_scan != nullptr, "on a GPU the kernels support only float32");
    ChunkScan<T> p = inputs<T>(call, steps, softplus, dt_min, dt_max, varlen, threads);
    p.out = call.output_like("out", "x");
    p.final = call.output_if(final, "final_states", "B H P N");
    p.varlen = call.output_if(varlen, "varlen_states", "S H P N");
    call.run(kernels<T>().chunk_scan, p);
  });
}

void mamba_chunk_scan_combined_vjp(Arguments& call, std::int64_t steps, bool softplus, double dt_min, double dt_max, bool final,
                                   bool varlen, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    call.require(kernels<T>().chunk_scan != nullptr, "on a GPU the kernels support only float32");
    ChunkScanAdjoint<T> q{};
    q.forward = inputs<T>(call, steps, softplus, dt_min, dt_max, varlen, threads);
    q.grad = signal<T>(call.strided_like("grad_out", "x"));
    q.grad_final = call.input_if(final, "grad_final_states", "B H P N");
    q.grad_varlen = call.input_if(varlen, "grad_varlen_states", "S H P N");
    q.dx = call.gradient_of("x"), q.ddt = call.gradient_of("dt"), q.dA = call.gradient_of("A");
    q.dB = call.gradient_of("B"), q.dC = call.gradient_of("C"), q.dD = call.gradient_of("D");
    q.dz = call.gradient_of("z"), q.ddt_bias = call.gradient_of("dt_bias"), q.dinitial = call.gradient_of("initial_states");
    call.no_output("dseq_idx"), call.no_output("dcu_seqlens");
    call.run(kernels<T>().chunk_scan_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "mamba_chunk_scan_combined", &mamba_chunk_scan_combined);
  define(m, "mamba_chunk_scan_combined_vjp", &mamba_chunk_scan_combined_vjp);
}

}  // namespace quatrefoil::ssm::ssd
