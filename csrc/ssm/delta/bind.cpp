// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/delta/args.hpp"

QF_TABLE(ssm, delta)

namespace quatrefoil::ssm::delta {
namespace {

// Checks where each sequence begins and where the last one ends, because the kernels index memory by these values. On a GPU the kernels
// check them.
void check_sequences(const Arguments& call, [[maybe_unused]] const std::int64_t* begins, [[maybe_unused]] std::int64_t sequences) {
  call.require(call["B"] == 1, "with cu_seqlens the batch size must be 1");
#if !defined(QF_DEVICE)
  bool valid = begins[0] == 0 && begins[sequences] == call["T"];
  for (std::int64_t i = 0; i < sequences; ++i) valid = valid && begins[i] <= begins[i + 1];
  call.require(valid, "cu_seqlens must start with 0, never decrease, and end with the number of tokens");
#endif
}

// The kinds of attention. They differ in the arguments between v and the initial state.
enum class Kind { gated, linear, kda, gdn2, dplr };

constexpr int gates(Kind kind) { return kind == Kind::linear ? 1 : kind == Kind::gated || kind == Kind::kda ? 2 : 3; }

template <class T>
void gate_inputs(Arguments& call, Kind kind, DeltaRule<T>& p) {
  p.corrects = kind != Kind::linear, p.channels = kind != Kind::gated && kind != Kind::linear;
  if (!p.channels) {
    p.g = call.optional_input("g", "B T J");
    if (p.corrects) p.beta = call.optional_input("beta", "B T J");
  } else if (kind == Kind::dplr) {
    p.a = call.input("a", "B T J K"), p.b = call.input("b", "B T J K"), p.g = call.input("gk", "B T J K");
  } else {
    p.g = call.input("g", "B T J K");
    if (kind == Kind::kda)
      p.beta = call.input("beta", "B T J");
    else
      p.erase = call.input("b", "B T J K"), p.write = call.input("w", "B T J V");
  }
}

template <class T>
void gate_gradients(Arguments& call, Kind kind, DeltaRuleAdjoint<T>& q) {
  if (kind == Kind::dplr) {
    q.da = call.gradient_of("a"), q.db = call.gradient_of("b"), q.dg = call.gradient_of("gk");
    return;
  }
  q.dg = call.gradient_of("g");
  if (kind == Kind::gated || kind == Kind::kda) q.dbeta = call.gradient_of("beta");
  if (kind == Kind::gdn2) q.derase = call.gradient_of("b"), q.dwrite = call.gradient_of("w");
}

template <class T>
DeltaRule<T> inputs(Arguments& call, Kind kind, double scale, bool normalizes, int threads) {
  DeltaRule<T> p{};
  p.q = call.input("q", "B T H K"), p.k = call.input("k", "B T H K"), p.v = call.input("v", "B T J V");
  gate_inputs(call, kind, p);
  const View packed = call.peek(std::size_t(4 + gates(kind)));
  call.require(!packed.present || (packed.rank == 1 && packed.shape[0] > 0), "cu_seqlens must be one-dimensional and not empty");
  p.B = call["B"], p.length = call["T"], p.heads = call["H"], p.K = call["K"], p.value_heads = call["J"], p.V = call["V"];
  p.sequences = packed.present ? packed.shape[0] - 1 : p.B;
  call.size("N", p.sequences), call.size("M", p.sequences + 1);
  p.initial = call.optional_input("initial_state", "N J K V");
  p.begins = call.optional_input("cu_seqlens", "M");
  if (p.begins) check_sequences(call, p.begins, p.sequences);
  call.require(p.heads ? p.value_heads % p.heads == 0 : p.value_heads == 0,
               "the number of heads of v must be a multiple of that of q and k");
  p.scale = scale, p.normalizes = normalizes, p.threads = threads;
  return p;
}

template <Kind kind>
void run(Arguments& call, double scale, bool normalizes, bool final_state, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    call.require(kernels<T>().delta_rule != nullptr, "on a GPU the kernels support only float32");
    DeltaRule<T> p = inputs<T>(call, kind, scale, normalizes, threads);
    p.o = call.output_like("o", "v");
    p.final = call.output_if(final_state, "final_state", "N J K V");
    call.run(kernels<T>().delta_rule, p);
  });
}

template <Kind kind>
void run_adjoint(Arguments& call, double scale, bool normalizes, bool final_state, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    call.require(kernels<T>().delta_rule_adjoint != nullptr, "on a GPU the kernels support only float32");
    DeltaRuleAdjoint<T> q{};
    q.forward = inputs<T>(call, kind, scale, normalizes, threads);
    q.grad = call.input_like("grad_o", "v");
    q.grad_final = call.input_if(final_state, "grad_final_state", "N J K V");
    q.dq = call.gradient_of("q"), q.dk = call.gradient_of("k"), q.dv = call.gradient_of("v");
    gate_gradients(call, kind, q);
    q.dinitial = call.gradient_of("initial_state");
    call.no_output("dcu_seqlens");
    call.run(kernels<T>().delta_rule_adjoint, q);
  });
}

// For operations that never normalise queries and keys, and so have no such option.
template <Kind kind>
void run_plain(Arguments& call, double scale, bool final_state, int threads) {
  run<kind>(call, scale, false, final_state, threads);
}
template <Kind kind>
void run_plain_adjoint(Arguments& call, double scale, bool final_state, int threads) {
  run_adjoint<kind>(call, scale, false, final_state, threads);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "chunk_gated_delta_rule", &run<Kind::gated>);
  define(m, "chunk_gated_delta_rule_vjp", &run_adjoint<Kind::gated>);
  define(m, "chunk_simple_gla", &run_plain<Kind::linear>);
  define(m, "chunk_simple_gla_vjp", &run_plain_adjoint<Kind::linear>);
#if !defined(QF_DEVICE)
  define(m, "chunk_kda", &run<Kind::kda>);
  define(m, "chunk_kda_vjp", &run_adjoint<Kind::kda>);
  define(m, "chunk_gdn2", &run<Kind::gdn2>);
  define(m, "chunk_gdn2_vjp", &run_adjoint<Kind::gdn2>);
  define(m, "chunk_dplr_delta_rule", &run_plain<Kind::dplr>);
  define(m, "chunk_dplr_delta_rule_vjp", &run_plain_adjoint<Kind::dplr>);
#endif
}

}  // namespace quatrefoil::ssm::delta
