// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s4d/args.hpp"

QF_TABLE(ssm, s4d)

namespace quatrefoil::ssm::s4d {
namespace {

Disc disc_of(const Fit& fit, const std::string& name) { return Disc(fit.choice("disc", name, {"zoh", "bilinear", "dss"})); }

template <class T>
Model<T> kernel_inputs(Arguments& given, std::int64_t L, const std::string& disc, int threads) {
  Model<T> p{};
  given.size("L", L);
  p.dt = given.input("dt", "H"), p.A = given.input("A", "H N"), p.C = given.input("C", "... H N");
  p.B = given.optional_input("B", "H N");
  p.M = given.product("..."), p.H = given["H"], p.N = given["N"], p.L = L;
  p.disc = disc_of(given, disc), p.threads = threads;
  return p;
}

template <class T>
void kernel(Arguments& given, std::int64_t L, const std::string& disc, int threads) {
  Model<T> p = kernel_inputs<T>(given, L, disc, threads);
  p.K = given.output("out", "... H L");
  given.run(kernels<T>().kernel, p);
}

template <class T>
void kernel_adjoint(Arguments& given, std::int64_t L, const std::string& disc, int threads) {
  ModelAdjoint<T> q{};
  q.forward = kernel_inputs<T>(given, L, disc, threads);
  q.grad = given.input("grad", "... H L");
  q.ddt = given.gradient_of("dt"), q.dA = given.gradient_of("A"), q.dC = given.gradient_of("C"), q.dB = given.gradient_of("B");
  given.run(kernels<T>().kernel_adjoint, q);
}

// The options of a call to the layer. With several outputs, D and the result have an axis M.
struct LayerCall {
  std::string disc, method;
  bool both, return_state;
  int threads;

  static constexpr int kC = 3;  // position of C
  bool several(const Arguments& given) const { return !both && given.peek(kC).rank > 2; }
  const char* result(const Arguments& given) const { return several(given) ? "... M H L" : "... H L"; }

  template <class T>
  Layer<T> inputs(Arguments& given) const {
    Layer<T> p{};
    const bool several = this->several(given);
    p.u = given.input("u", "... H L");
    p.model.dt = given.input("dt", "H"), p.model.A = given.input("A", "H N");
    p.model.C = given.input("C", both ? "2 H N" : several ? "M H N" : "H N");
    p.D = given.optional_input("D", several ? "M H" : "H");
    p.model.B = given.optional_input("B", "H N");
    p.start = given.optional_input("initial_state", "... H N");
    p.model.M = both ? 2 : several ? given["M"] : 1, p.model.H = given["H"], p.model.N = given["N"], p.model.L = given["L"];
    p.model.disc = disc_of(given, disc), p.model.threads = threads;
    p.B = given.product("..."), p.both = both, p.method = Method(given.choice("method", method, {"auto", "fft", "scan"}));
    given.require(!(both || p.model.disc == Disc::dss) || !(p.start || return_state), "dss and both directions together have no state");
    return p;
  }
};

template <class T>
void layer(Arguments& given, const std::string& disc, const std::string& method, bool both, bool return_state, int threads) {
  const LayerCall call{disc, method, both, return_state, threads};
  Layer<T> p = call.inputs<T>(given);
  p.y = given.output("out", call.result(given));
  p.last = given.output_if(return_state, "last_state", "... H N");
  given.run(kernels<T>().layer, p);
}

template <class T>
void layer_adjoint(Arguments& given, const std::string& disc, const std::string& method, bool both, bool return_state, int threads) {
  const LayerCall call{disc, method, both, return_state, threads};
  LayerAdjoint<T> q{};
  q.forward = call.inputs<T>(given);
  q.model.forward = q.forward.model;
  q.grad = given.input("grad_y", call.result(given));
  q.grad_last = given.input_if(return_state, "grad_last_state", "... H N");
  q.du = given.gradient_of("u"), q.model.ddt = given.gradient_of("dt"), q.model.dA = given.gradient_of("A");
  q.model.dC = given.gradient_of("C"), q.dD = given.gradient_of("D"), q.model.dB = given.gradient_of("B");
  q.dstart = given.gradient_of("initial_state");
  given.run(kernels<T>().layer_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s4d_kernel", &kernel<float>, &kernel<double>);
  define(m, "s4d_kernel_vjp", &kernel_adjoint<float>, &kernel_adjoint<double>);
  define(m, "s4d_conv", &layer<float>, &layer<double>);
  define(m, "s4d_conv_vjp", &layer_adjoint<float>, &layer_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s4d
