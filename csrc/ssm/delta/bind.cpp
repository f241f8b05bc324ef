// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/delta/args.hpp"

QF_TABLE(ssm, delta)

namespace quatrefoil::ssm::delta {
namespace {

// Where each sequence begins, and the end of the last one: the kernels read and write by these numbers; those of a GPU look at them first.
void check_sequences(const Arguments& given, [[maybe_unused]] const std::int64_t* begins, [[maybe_unused]] std::int64_t sequences) {
  given.require(given["B"] == 1, "with cu_seqlens the batch must be of one item");
#if !defined(QF_DEVICE)
  bool good = begins[0] == 0 && begins[sequences] == given["T"];
  for (std::int64_t i = 0; i < sequences; ++i) good = good && begins[i] <= begins[i + 1];
  given.require(good, "cu_seqlens must begin with 0, never fall, and end with the number of tokens");
#endif
}

// `corrects`: whether there is a beta.
template <class T>
DeltaRule<T> inputs(Arguments& given, bool corrects, double scale, bool normalizes, int threads) {
  DeltaRule<T> p{};
  p.q = given.input("q", "B T H K"), p.k = given.input("k", "B T H K"), p.v = given.input("v", "B T J V");
  p.g = given.optional_input("g", "B T J");
  if (corrects) p.beta = given.optional_input("beta", "B T J");
  const View packed = given.peek(corrects ? 6 : 5);
  given.require(!packed.present || (packed.rank == 1 && packed.shape[0] > 0), "cu_seqlens must have one axis, and an entry at least");
  p.B = given["B"], p.length = given["T"], p.heads = given["H"], p.K = given["K"], p.value_heads = given["J"], p.V = given["V"];
  p.sequences = packed.present ? packed.shape[0] - 1 : p.B;
  given.size("N", p.sequences), given.size("M", p.sequences + 1);
  p.initial = given.optional_input("initial_state", "N J K V");
  p.begins = given.optional_input("cu_seqlens", "M");
  if (p.begins) check_sequences(given, p.begins, p.sequences);
  given.require(p.heads ? p.value_heads % p.heads == 0 : p.value_heads == 0, "the heads of v must be a multiple of those of q and k");
  p.scale = scale, p.normalizes = normalizes, p.corrects = corrects, p.threads = threads;
  return p;
}

void run(Arguments& given, bool corrects, double scale, bool normalizes, bool final_state, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    given.require(kernels<T>().delta_rule != nullptr, "on a GPU the arrays must be float32");
    DeltaRule<T> p = inputs<T>(given, corrects, scale, normalizes, threads);
    p.o = given.output_like("o", "v");
    p.final = given.output_if(final_state, "final_state", "N J K V");
    given.run(kernels<T>().delta_rule, p);
  });
}

void run_adjoint(Arguments& given, bool corrects, double scale, bool normalizes, bool final_state, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    given.require(kernels<T>().delta_rule_adjoint != nullptr, "on a GPU the arrays must be float32");
    DeltaRuleAdjoint<T> q{};
    q.forward = inputs<T>(given, corrects, scale, normalizes, threads);
    q.grad = given.input_like("grad_o", "v");
    q.grad_final = given.input_if(final_state, "grad_final_state", "N J K V");
    q.dq = given.gradient_of("q"), q.dk = given.gradient_of("k"), q.dv = given.gradient_of("v"), q.dg = given.gradient_of("g");
    if (corrects) q.dbeta = given.gradient_of("beta");
    q.dinitial = given.gradient_of("initial_state");
    given.no_output("dcu_seqlens");
    given.run(kernels<T>().delta_rule_adjoint, q);
  });
}

void gated_delta_rule(Arguments& given, double scale, bool normalizes, bool final_state, int threads) {
  run(given, true, scale, normalizes, final_state, threads);
}
void gated_delta_rule_adjoint(Arguments& given, double scale, bool normalizes, bool final_state, int threads) {
  run_adjoint(given, true, scale, normalizes, final_state, threads);
}
void simple_gla(Arguments& given, double scale, bool final_state, int threads) { run(given, false, scale, false, final_state, threads); }
void simple_gla_adjoint(Arguments& given, double scale, bool final_state, int threads) {
  run_adjoint(given, false, scale, false, final_state, threads);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "chunk_gated_delta_rule", &gated_delta_rule);
  define(m, "chunk_gated_delta_rule_vjp", &gated_delta_rule_adjoint);
  define(m, "chunk_simple_gla", &simple_gla);
  define(m, "chunk_simple_gla_vjp", &simple_gla_adjoint);
}

}  // namespace quatrefoil::ssm::delta
