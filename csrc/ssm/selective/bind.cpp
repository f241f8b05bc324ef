// Checks arrays from Python and puts them into args.
#include <vector>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/selective/args.hpp"

QF_TABLE(ssm, selective)

namespace quatrefoil::ssm::selective {
namespace {

template <class E>
Signal<const E> signal(const ShapeChecker::CheckedArray& array) {
  const View& v = array.view();
  return {array, v.stride[0], v.stride[1], v.stride[2]};
}

// B or C: (D, N), (B, N, L) or (B, G, N, L). `dims` are the dims with groups, `letter` is the letter of the groups.
template <class E>
Mixing<E> mixing(Arguments& call, const char* name, std::size_t index, const char* dims, const char* letter) {
  const int rank = call.peek(index).rank;
  const auto array = call.strided(name, rank == 2 ? "D N" : rank == 3 ? "B N L" : dims);
  const std::int64_t* const stride = array.view().stride;
  if (rank == 2) return {array, 0, stride[0], stride[1], 0, call["D"], false};
  if (rank == 3) return {array, stride[0], 0, stride[1], stride[2], 1, true};
  const std::int64_t groups = call[letter];
  call.require(groups > 0 && call["D"] % groups == 0, "the number of channels must be a multiple of the number of groups of B and C");
  return {array, stride[0], stride[1], stride[2], stride[3], groups, true};
}

template <class T, class E>
SelectiveScan<T, E> scan_inputs(Arguments& call, bool delta_softplus, int threads) {
  SelectiveScan<T, E> p{};
  p.u = signal<T>(call.strided("u", "B D L")), p.delta = signal<T>(call.strided("delta", "B D L"));
  p.A = call.input("A", "D N");
  p.B = mixing<E>(call, "B", 3, "B G N L", "G"), p.C = mixing<E>(call, "C", 4, "B J N L", "J");
  p.D = call.optional_input("D", "D");
  p.z = signal<T>(call.optional_strided("z", "B D L"));
  p.delta_bias = call.optional_input("delta_bias", "D");
  p.initial = call.optional_input("initial_state", "B D N");
  p.items = call["B"], p.channels = call["D"], p.states = call["N"], p.length = call["L"];
  p.delta_softplus = delta_softplus, p.threads = threads;
  return p;
}

// Calls f(T(), E(), kernels), where E is the type of the states and of A.
template <class F>
void dispatch_states(const Arguments& call, F&& f) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    is_complex(call.peek(2).dtype) ? f(T{}, cplx<T>{}, kernels<T>().complex) : f(T{}, T{}, kernels<T>().real);
  });
}

void selective_scan_fn(Arguments& call, bool delta_softplus, bool return_last_state, int threads) {
  dispatch_states(call, [&](auto zero, auto state, const auto& kernels) {
    auto p = scan_inputs<decltype(zero), decltype(state)>(call, delta_softplus, threads);
    p.out = call.output_like("out", "u");
    p.last = call.output_if(return_last_state, "last_state", "B D N");
    call.run(kernels.selective_scan, p);
  });
}

void selective_scan_fn_vjp(Arguments& call, bool delta_softplus, bool return_last_state, int threads) {
  dispatch_states(call, [&](auto zero, auto state, const auto& kernels) {
    using T = decltype(zero);
    using E = decltype(state);
    SelectiveScanAdjoint<T, E> q{};
    q.forward = scan_inputs<T, E>(call, delta_softplus, threads);
    q.grad = signal<T>(call.strided_like("grad_out", "u"));
    q.grad_last = call.input_if(return_last_state, "grad_last_state", "B D N");
    q.du = call.gradient_of("u"), q.ddelta = call.gradient_of("delta"), q.dA = call.gradient_of("A");
    q.dB = call.gradient_of("B"), q.dC = call.gradient_of("C"), q.dD = call.gradient_of("D");
    q.dz = call.gradient_of("z"), q.ddelta_bias = call.gradient_of("delta_bias");
    q.dinitial = call.gradient_of("initial_state");
    call.run(kernels.selective_scan_adjoint, q);
  });
}

template <class T>
CausalConv<T> conv_inputs(Arguments& call, const std::string& activation, bool return_states, int threads) {
  CausalConv<T> p{};
  p.x = signal<T>(call.strided("x", "B D L"));
  p.weight = call.input("weight", "D W");
  p.bias = call.optional_input("bias", "D");
  p.segments = call.optional_input("seq_idx", "B L");
  call.size("S", call["W"] - 1);
  p.initial = signal<T>(call.optional_strided("initial_states", "B D S"));
  call.require(!p.segments || !(p.initial.at || return_states), "seq_idx cannot be combined with initial or final states");
  p.items = call["B"], p.channels = call["D"], p.length = call["L"], p.taps = call["W"];
  p.silu = call.choice("activation", activation, {"none", "silu"}), p.threads = threads;
  return p;
}

void causal_conv1d_fn(Arguments& call, const std::string& activation, bool return_final_states, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    CausalConv<T> p = conv_inputs<T>(call, activation, return_final_states, threads);
    p.out = call.output_like("out", "x");
    p.final = call.output_if(return_final_states, "final_states", "B D S");
    call.run(kernels<T>().causal_conv, p);
  });
}

void causal_conv1d_fn_vjp(Arguments& call, const std::string& activation, bool return_final_states, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    CausalConvAdjoint<T> q{};
    q.forward = conv_inputs<T>(call, activation, return_final_states, threads);
    q.grad = signal<T>(call.strided_like("grad_out", "x"));
    q.grad_final = call.input_if(return_final_states, "grad_final_states", "B D S");
    q.dx = call.gradient_of("x"), q.dweight = call.gradient_of("weight"), q.dbias = call.gradient_of("bias");
    call.no_output("dseq_idx");
    q.dinitial = call.gradient_of("initial_states");
    call.run(kernels<T>().causal_conv_adjoint, q);
  });
}

// x is (tokens, channels).
template <class T>
VarlenStates<T> varlen_inputs(Arguments& call, std::int64_t states, int threads) {
  VarlenStates<T> p{};
  const auto x = call.strided("x", "T D");
  p.x = {x, 0, x.view().stride[1], x.view().stride[0]};
  p.ends = call.input("cu_seqlens", "E");
  call.require(call["E"] > 0, "cu_seqlens is empty, expected (B + 1,)");
  call.size("B", call["E"] - 1), call.size("S", states);
  p.items = call["B"], p.channels = call["D"], p.states = states, p.threads = threads;
  bool fits = p.ends[0] >= 0 && p.ends[p.items] <= call["T"];
  for (std::int64_t b = 0; b < p.items; ++b) fits = fits && p.ends[b] <= p.ends[b + 1];
  call.require(fits, "cu_seqlens must stay in [0, T], with T the number of rows of x, and never decrease");
  return p;
}

void causal_conv1d_varlen_states(Arguments& call, std::int64_t state_len, int threads) {
  call.dispatch([&](auto zero) {
    VarlenStates<decltype(zero)> p = varlen_inputs<decltype(zero)>(call, state_len, threads);
    p.out = call.output("states", "B D S");
    call.run(kernels<decltype(zero)>().varlen_states, p);
  });
}

void causal_conv1d_varlen_states_vjp(Arguments& call, std::int64_t state_len, int threads) {
  call.dispatch([&](auto zero) {
    VarlenStatesAdjoint<decltype(zero)> q{};
    q.forward = varlen_inputs<decltype(zero)>(call, state_len, threads);
    q.length = call["T"];
    q.grad = signal<decltype(zero)>(call.strided("grad", "B D S"));
    q.dx = call.gradient_of("x");
    call.no_output("dcu_seqlens");
    call.run(kernels<decltype(zero)>().varlen_states_adjoint, q);
  });
}

// An array with one letter per axis: i, h, d, n for item, head, dim, state.
template <class T>
Grid<const T> grid(const ShapeChecker::CheckedArray& array, const char* axes) {
  Grid<const T> g;
  g.at = array;
  for (int i = 0; g.at && axes[i]; ++i) {
    std::int64_t& stride = axes[i] == 'i' ? g.item : axes[i] == 'h' ? g.head : axes[i] == 'd' ? g.dim : g.state;
    stride = array.view().stride[i];
  }
  return g;
}

#if !defined(QF_DEVICE)
// The item of every row of the states. Each row has at most one item.
std::vector<std::int64_t> items_of_rows(const Arguments& call, const std::int64_t* row_of_item) {
  const auto rows = std::size_t(call["R"]);
  std::vector<std::int64_t> item_of_row(rows, -1);
  for (std::int64_t b = 0; b < call["B"]; ++b) {
    if (row_of_item[b] < 0) continue;
    call.require(row_of_item[b] < call["R"], "state_batch_indices must be less than the number of rows of state");
    std::int64_t& item = item_of_row[std::size_t(row_of_item[b])];
    call.require(item < 0, "state_batch_indices must not contain a row twice");
    item = b;
  }
  return item_of_row;
}
#endif

// `items` stores the result of items_of_rows.
template <class T>
StateStep<T> step_inputs(Arguments& call, bool softplus, int threads, std::vector<std::int64_t>& items) {
  const bool heads = call.peek(0).rank == 4;
  const char *const each = heads ? "B H P" : "B P", *const each_axes = heads ? "ihd" : "id";
  const bool groups = call.peek(4).rank == 3;
  const char *const fixed = heads ? "H P" : "P", *const fixed_axes = heads ? "hd" : "d";
  StateStep<T> p{};
  p.state = grid<T>(call.strided("state", heads ? "R H P N" : "R P N"), heads ? "ihdn" : "idn");
  p.x = grid<T>(call.strided("x", each), each_axes), p.dt = grid<T>(call.strided("dt", each), each_axes);
  p.A = grid<T>(call.strided("A", heads ? "H P N" : "P N"), heads ? "hdn" : "dn");
  p.B = grid<T>(call.strided("B", groups ? "B G N" : "B N"), groups ? "ihn" : "in");
  p.C = grid<T>(call.strided_like("C", "B"), groups ? "ihn" : "in");
  p.D = grid<T>(call.optional_strided("D", fixed), fixed_axes);
  p.z = grid<T>(call.optional_strided("z", each), each_axes);
  p.bias = grid<T>(call.optional_strided("dt_bias", fixed), fixed_axes);
  const auto rows = call.optional_input("state_batch_indices", "B");
  p.indexed = rows.view().present;
  p.row_of_item = rows;
  p.items = call["B"], p.rows = call["R"], p.dims = call["P"], p.states = call["N"], p.heads = heads ? call["H"] : 1;
  p.groups = groups ? call["G"] : 1;
  call.require(p.groups > 0 && p.heads % p.groups == 0, "the number of heads must be a multiple of the number of groups of B and C");
  call.require(p.indexed || p.rows == p.items, "without state_batch_indices, state must have as many rows as x has items");
#if defined(QF_DEVICE)  // values on a device are not read
  static_cast<void>(items);
#else
  if (p.indexed) items = items_of_rows(call, p.row_of_item), p.item_of_row = items.data();
#endif
  p.softplus = softplus, p.threads = threads;
  return p;
}

void selective_state_step(Arguments& call, bool dt_softplus, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    std::vector<std::int64_t> items;
    StateStep<T> p = step_inputs<T>(call, dt_softplus, threads, items);
    p.out = call.output_like("out", "x"), p.next = call.output_like("next_state", "state");
    call.run(kernels<T>().state_step, p);
  });
}

void selective_state_step_vjp(Arguments& call, bool dt_softplus, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    std::vector<std::int64_t> items;
    StateStepAdjoint<T> q{};
    q.forward = step_inputs<T>(call, dt_softplus, threads, items);
    q.grad = grid<T>(call.strided_like("grad_out", "x"), call.peek(0).rank == 4 ? "ihd" : "id");
    q.grad_next = call.input_like("grad_next_state", "state");
    q.dstate = call.gradient_of("state"), q.dx = call.gradient_of("x"), q.ddt = call.gradient_of("dt"), q.dA = call.gradient_of("A");
    q.dB = call.gradient_of("B"), q.dC = call.gradient_of("C"), q.dD = call.gradient_of("D"), q.dz = call.gradient_of("z");
    q.dbias = call.gradient_of("dt_bias");
    call.no_output("dstate_batch_indices");
    call.run(kernels<T>().state_step_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "selective_scan_fn", &selective_scan_fn);
  define(m, "selective_scan_fn_vjp", &selective_scan_fn_vjp);
  define(m, "causal_conv1d_fn", &causal_conv1d_fn);
  define(m, "causal_conv1d_fn_vjp", &causal_conv1d_fn_vjp);
  define(m, "causal_conv1d_varlen_states", &causal_conv1d_varlen_states);
  define(m, "causal_conv1d_varlen_states_vjp", &causal_conv1d_varlen_states_vjp);
  define(m, "selective_state_step", &selective_state_step);
  define(m, "selective_state_step_vjp", &selective_state_step_vjp);
}

}  // namespace quatrefoil::ssm::selective
