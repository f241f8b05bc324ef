// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s4d/args.hpp"

QF_TABLE(ssm, s4d)

namespace quatrefoil::ssm::s4d {
namespace {

Disc disc_of(const ShapeChecker& checker, const std::string& name) {
  return Disc(checker.choice("disc", name, {"zoh", "bilinear", "dss"}));
}

template <class T>
Model<T> kernel_inputs(Arguments& call, std::int64_t L, const std::string& disc, int threads) {
  Model<T> p{};
  call.size("L", L);
  p.dt = call.input("dt", "H"), p.A = call.input("A", "H N"), p.C = call.input("C", "... H N");
  p.B = call.optional_input("B", "H N");
  p.M = call.product("..."), p.H = call["H"], p.N = call["N"], p.L = L;
  p.disc = disc_of(call, disc), p.threads = threads;
  return p;
}

template <class T>
void kernel(Arguments& call, std::int64_t L, const std::string& disc, int threads) {
  Model<T> p = kernel_inputs<T>(call, L, disc, threads);
  p.K = call.output("out", "... H L");
  call.run(kernels<T>().kernel, p);
}

template <class T>
void kernel_adjoint(Arguments& call, std::int64_t L, const std::string& disc, int threads) {
  ModelAdjoint<T> q{};
  q.forward = kernel_inputs<T>(call, L, disc, threads);
  q.grad = call.input("grad", "... H L");
  q.ddt = call.gradient_of("dt"), q.dA = call.gradient_of("A"), q.dC = call.gradient_of("C"), q.dB = call.gradient_of("B");
  call.run(kernels<T>().kernel_adjoint, q);
}

// The options of a call to the layer. With several outputs, D and the result have an axis M.
struct LayerCall {
  std::string disc, method;
  bool both, return_state;
  int threads;

  static constexpr int kC = 3;  // position of C
  bool several(const Arguments& call) const { return !both && call.peek(kC).rank > 2; }
  const char* result(const Arguments& call) const { return several(call) ? "... M H L" : "... H L"; }

  template <class T>
  Layer<T> inputs(Arguments& call) const {
    Layer<T> p{};
    const bool several = this->several(call);
    p.u = call.input("u", "... H L");
    p.model.dt = call.input("dt", "H"), p.model.A = call.input("A", "H N");
    p.model.C = call.input("C", both ? "2 H N" : several ? "M H N" : "H N");
    p.D = call.optional_input("D", several ? "M H" : "H");
    p.model.B = call.optional_input("B", "H N");
    p.start = call.optional_input("initial_state", "... H N");
    p.model.M = both ? 2 : several ? call["M"] : 1, p.model.H = call["H"], p.model.N = call["N"], p.model.L = call["L"];
    p.model.disc = disc_of(call, disc), p.model.threads = threads;
    p.B = call.product("..."), p.both = both, p.method = Method(call.choice("method", method, {"auto", "fft", "scan"}));
    call.require(!(both || p.model.disc == Disc::dss) || !(p.start || return_state),
                 "neither a bidirectional system nor one with disc='dss' has a state");
    return p;
  }
};

template <class T>
void layer(Arguments& call, const std::string& disc, const std::string& method, bool both, bool return_state, int threads) {
  const LayerCall options{disc, method, both, return_state, threads};
  Layer<T> p = options.inputs<T>(call);
  p.y = call.output("out", options.result(call));
  p.last = call.output_if(return_state, "last_state", "... H N");
  call.run(kernels<T>().layer, p);
}

template <class T>
void layer_adjoint(Arguments& call, const std::string& disc, const std::string& method, bool both, bool return_state, int threads) {
  const LayerCall options{disc, method, both, return_state, threads};
  LayerAdjoint<T> q{};
  q.forward = options.inputs<T>(call);
  q.model.forward = q.forward.model;
  q.grad = call.input("grad_y", options.result(call));
  q.grad_last = call.input_if(return_state, "grad_last_state", "... H N");
  q.du = call.gradient_of("u"), q.model.ddt = call.gradient_of("dt"), q.model.dA = call.gradient_of("A");
  q.model.dC = call.gradient_of("C"), q.dD = call.gradient_of("D"), q.model.dB = call.gradient_of("B");
  q.dstart = call.gradient_of("initial_state");
  call.run(kernels<T>().layer_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s4d_kernel", &kernel<float>, &kernel<double>);
  define(m, "s4d_kernel_vjp", &kernel_adjoint<float>, &kernel_adjoint<double>);
  define(m, "s4d_conv", &layer<float>, &layer<double>);
  define(m, "s4d_conv_vjp", &layer_adjoint<float>, &layer_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s4d
