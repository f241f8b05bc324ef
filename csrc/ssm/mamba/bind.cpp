// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/mamba/args.hpp"

QF_TABLE(ssm, mamba)

namespace quatrefoil::ssm::mamba {
namespace {

template <class E>
Signal<const E> signal(const Fit::Fitted& array) {
  const View& v = array.view();
  return {array, v.stride[0], v.stride[1], v.stride[2]};
}

// B or C: (D, N), (B, N, L) or (B, G, N, L), where `dims` are those with groups, `letter` theirs.
template <class E>
Mixing<E> mixing(Arguments& given, const char* name, std::size_t index, const char* dims, const char* letter) {
  const int rank = given.peek(index).rank;
  const auto array = given.strided(name, rank == 2 ? "D N" : rank == 3 ? "B N L" : dims);
  const std::int64_t* const stride = array.view().stride;
  if (rank == 2) return {array, 0, stride[0], stride[1], 0, given["D"], false};
  if (rank == 3) return {array, stride[0], 0, stride[1], stride[2], 1, true};
  const std::int64_t groups = given[letter];
  given.require(groups > 0 && given["D"] % groups == 0, "the groups of B and C must divide the channels");
  return {array, stride[0], stride[1], stride[2], stride[3], groups, true};
}

template <class T, class E>
SelectiveScan<T, E> scan_inputs(Arguments& given, bool delta_softplus, int threads) {
  SelectiveScan<T, E> p{};
  p.u = signal<T>(given.strided("u", "B D L")), p.delta = signal<T>(given.strided("delta", "B D L"));
  p.A = given.input("A", "D N");
  p.B = mixing<E>(given, "B", 3, "B G N L", "G"), p.C = mixing<E>(given, "C", 4, "B J N L", "J");
  p.D = given.optional_input("D", "D");
  p.z = signal<T>(given.optional_strided("z", "B D L"));
  p.delta_bias = given.optional_input("delta_bias", "D");
  p.items = given["B"], p.channels = given["D"], p.states = given["N"], p.length = given["L"];
  p.delta_softplus = delta_softplus, p.threads = threads;
  return p;
}

// f(T(), E(), kernels) with E the numbers of the states, A's.
template <class F>
void dispatch_states(const Arguments& given, F&& f) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    is_complex(given.peek(2).dtype) ? f(T{}, cplx<T>{}, kernels<T>().complex) : f(T{}, T{}, kernels<T>().real);
  });
}

void selective_scan_fn(Arguments& given, bool delta_softplus, bool return_last_state, int threads) {
  dispatch_states(given, [&](auto zero, auto state, const auto& kernels) {
    auto p = scan_inputs<decltype(zero), decltype(state)>(given, delta_softplus, threads);
    p.out = given.output_like("out", "u");
    p.last = given.output_if(return_last_state, "last_state", "B D N");
    given.run(kernels.selective_scan, p);
  });
}

void selective_scan_fn_vjp(Arguments& given, bool delta_softplus, bool return_last_state, int threads) {
  dispatch_states(given, [&](auto zero, auto state, const auto& kernels) {
    using T = decltype(zero);
    using E = decltype(state);
    SelectiveScanAdjoint<T, E> q{};
    q.forward = scan_inputs<T, E>(given, delta_softplus, threads);
    q.grad = signal<T>(given.strided_like("grad_out", "u"));
    q.grad_last = given.input_if(return_last_state, "grad_last_state", "B D N");
    q.du = given.gradient_of("u"), q.ddelta = given.gradient_of("delta"), q.dA = given.gradient_of("A");
    q.dB = given.gradient_of("B"), q.dC = given.gradient_of("C"), q.dD = given.gradient_of("D");
    q.dz = given.gradient_of("z"), q.ddelta_bias = given.gradient_of("delta_bias");
    given.run(kernels.selective_scan_adjoint, q);
  });
}

template <class T>
CausalConv<T> conv_inputs(Arguments& given, const std::string& activation, bool return_states, int threads) {
  CausalConv<T> p{};
  p.x = signal<T>(given.strided("x", "B D L"));
  p.weight = given.input("weight", "D W");
  p.bias = given.optional_input("bias", "D");
  p.segments = given.optional_input("seq_idx", "B L");
  given.size("S", given["W"] - 1);
  p.initial = signal<T>(given.optional_strided("initial_states", "B D S"));
  given.require(!p.segments || !(p.initial.at || return_states), "seq_idx with initial or final states has no meaning");
  p.items = given["B"], p.channels = given["D"], p.length = given["L"], p.taps = given["W"];
  p.silu = given.choice("activation", activation, {"none", "silu"}), p.threads = threads;
  return p;
}

void causal_conv1d_fn(Arguments& given, const std::string& activation, bool return_final_states, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    CausalConv<T> p = conv_inputs<T>(given, activation, return_final_states, threads);
    p.out = given.output_like("out", "x");
    p.final = given.output_if(return_final_states, "final_states", "B D S");
    given.run(kernels<T>().causal_conv, p);
  });
}

void causal_conv1d_fn_vjp(Arguments& given, const std::string& activation, bool return_final_states, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    CausalConvAdjoint<T> q{};
    q.forward = conv_inputs<T>(given, activation, return_final_states, threads);
    q.grad = signal<T>(given.strided_like("grad_out", "x"));
    q.grad_final = given.input_if(return_final_states, "grad_final_states", "B D S");
    q.dx = given.gradient_of("x"), q.dweight = given.gradient_of("weight"), q.dbias = given.gradient_of("bias");
    given.no_output("dseq_idx");
    q.dinitial = given.gradient_of("initial_states");
    given.run(kernels<T>().causal_conv_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "selective_scan_fn", &selective_scan_fn);
  define(m, "selective_scan_fn_vjp", &selective_scan_fn_vjp);
  define(m, "causal_conv1d_fn", &causal_conv1d_fn);
  define(m, "causal_conv1d_fn_vjp", &causal_conv1d_fn_vjp);
}

}  // namespace quatrefoil::ssm::mamba
