// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "kron/gp/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, gp)

namespace quatrefoil::kron::gp {
namespace {

void spectrum(Arguments& call, double noise, int threads) {
  Spectrum q{};
  const auto values = call.inputs("values", "n_");
  call.require(!values.empty() && int(values.size()) <= kMaxAxes, "values must contain between 1 and 64 arrays");
  std::int64_t sizes = 0;
  for (const auto& l : values) {
    q.values[q.d] = l, q.n[q.d] = l.view().shape[0];
    sizes += q.n[q.d++];
  }
  call.size("N", call.product("n_")), call.size("S", sizes), call.size("four", 4);
  q.z = call.input("z", "N");
  q.weighted = call.output("weighted", "N"), q.shrinkages = call.output("shrinkages", "S"), q.sums = call.output("sums", "four");
  q.noise = noise, q.threads = threads;
  call.run(kernels<double>().spectrum, q);
}

void gram(Arguments& call, int threads) {
  Gram q{};
  q.x = call.input("x", "L n R"), q.gram = call.output("gram", "n n");
  q.L = call["L"], q.n = call["n"], q.R = call["R"], q.threads = threads;
  call.run(kernels<double>().gram, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "gp_spectrum", &spectrum);
  define(m, "gp_gram", &gram);
}

}  // namespace quatrefoil::kron::gp
