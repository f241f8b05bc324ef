// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "kron/gp/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, gp)

namespace quatrefoil::kron::gp {
namespace {

void spectrum(Arguments& given, double noise, int threads) {
  Spectrum q{};
  const auto values = given.inputs("values", "n_");
  given.require(!values.empty() && int(values.size()) <= kMaxAxes, "values must have between 1 and 64 entries");
  std::int64_t shares = 0;
  for (const auto& l : values) {
    q.values[q.d] = l, q.n[q.d] = l.view().shape[0];
    shares += q.n[q.d++];
  }
  given.size("N", given.product("n_")), given.size("S", shares), given.size("four", 4);
  q.z = given.input("z", "N");
  q.weighted = given.output("weighted", "N"), q.shares = given.output("shares", "S"), q.sums = given.output("sums", "four");
  q.noise = noise, q.threads = threads;
  given.run(kernels<double>().spectrum, q);
}

void gram(Arguments& given, int threads) {
  Gram q{};
  q.x = given.input("x", "L n R"), q.gram = given.output("gram", "n n");
  q.L = given["L"], q.n = given["n"], q.R = given["R"], q.threads = threads;
  given.run(kernels<double>().gram, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "gp_spectrum", &spectrum);
  define(m, "gp_gram", &gram);
}

}  // namespace quatrefoil::kron::gp
