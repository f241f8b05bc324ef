// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/s5/args.hpp"

QF_TABLE(ssm, s5)

namespace quatrefoil::ssm::s5 {
namespace {

struct S5Inputs {
  const Input u, lambda, b, c, D, initial;
  S5Inputs(py::handle u, py::handle lambda, py::handle b, py::handle c, py::handle D, py::handle initial)
      : u(u, "u"), lambda(lambda, "Lambda_bar"), b(b, "B_bar"), c(c, "C"), D(D, "D"), initial(initial, "initial_state") {}
};

template <class T>
S5<T> s5_args(const char* function, const S5Inputs& in, bool conj_sym, bool bidirectional, int threads) {
  S5<T> p{};
  p.B = in.u.batch(2), p.L = in.u.dim(2), p.H = in.u.dim(1), p.P = in.lambda.size();
  const Dtype comp = in.u.dtype == Dtype::f32 ? Dtype::c64 : Dtype::c128;
  require(in.u.rank >= 2 && in.b.size() == p.P * p.H, function, "B_bar does not fit");
  require(in.c.size() == p.P * p.H * (bidirectional ? 2 : 1), function, "C does not fit");
  require((!in.D || in.D.size() == p.H) && (!in.initial || in.initial.size() == p.B * p.P), function, "D or initial_state does not fit");
  require(in.lambda.dtype == comp && in.b.dtype == comp && in.c.dtype == comp && (!in.D || in.D.dtype == in.u.dtype) &&
              (!in.initial || in.initial.dtype == comp),
          function, "mixed dtypes");
  p.u = in.u.as<T>(), p.lambda = in.lambda.as<cplx<T>>(), p.b = in.b.as<cplx<T>>(), p.c = in.c.as<cplx<T>>();
  p.D = in.D.as<T>(), p.initial = in.initial.as<cplx<T>>();
  p.conj_sym = conj_sym, p.bidirectional = bidirectional, p.threads = threads;
  return p;
}

void s5_apply(py::handle u, py::handle lambda, py::handle b, py::handle c, py::handle D, py::handle initial, py::handle y_,
              py::handle last_, bool conj_sym, bool bidirectional, bool, int threads) {
  const S5Inputs in(u, lambda, b, c, D, initial);
  const Output y(y_, "out"), last(last_, "last_state");
  require(y.size() == in.u.size() && y.dtype == in.u.dtype, "s5_apply", "out does not fit u");
  require(!last || (last.size() == in.u.batch(2) * in.lambda.size() && last.dtype == in.lambda.dtype && !bidirectional), "s5_apply",
          "last_state does not fit");
  dispatch_real(in.u.dtype, "s5_apply", [&](auto zero) {
    using T = decltype(zero);
    auto p = s5_args<T>("s5_apply", in, conj_sym, bidirectional, threads);
    p.y = y.as<T>(), p.last = last.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>().s5_apply(p);
  });
}

void s5_apply_vjp(py::handle u, py::handle lambda, py::handle b, py::handle c, py::handle D, py::handle initial, py::handle grad_,
                  py::handle grad_last_, py::handle du_, py::handle dlambda_, py::handle db_, py::handle dc_, py::handle dD_,
                  py::handle dinitial_, bool conj_sym, bool bidirectional, bool, int threads) {
  const char* const name = "s5_apply_vjp";
  const S5Inputs in(u, lambda, b, c, D, initial);
  const Input grad(grad_, "grad_y"), grad_last(grad_last_, "grad_last_state");
  const Output du(du_, "du"), dlambda(dlambda_, "dLambda_bar"), db(db_, "dB_bar"), dc(dc_, "dC"), dD(dD_, "dD"),
      dinitial(dinitial_, "dinitial_state");
  const auto fits = [&](const View& g, const View& of) {
    require(g.size() == of.size() && g.dtype == of.dtype, name, "gradients do not fit");
  };
  fits(grad, in.u), fits(du, in.u), fits(dlambda, in.lambda), fits(db, in.b), fits(dc, in.c);
  if (dD) fits(dD, in.D);
  if (dinitial) fits(dinitial, in.initial);
  require(!grad_last || (grad_last.size() == in.u.batch(2) * in.lambda.size() && grad_last.dtype == in.lambda.dtype && !bidirectional),
          name, "grad_last_state does not fit");
  dispatch_real(in.u.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    using C = cplx<T>;
    const S5Vjp<T> q{s5_args<T>(name, in, conj_sym, bidirectional, threads),
                     grad.as<T>(),
                     grad_last.as<C>(),
                     du.as<T>(),
                     dlambda.as<C>(),
                     db.as<C>(),
                     dc.as<C>(),
                     dD.as<T>(),
                     dinitial.as<C>()};
    py::gil_scoped_release released;
    kernels<T>().s5_apply_vjp(q);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("s5_apply", &s5_apply, py::arg("u"), py::arg("Lambda_bar"), py::arg("B_bar"), py::arg("C"), py::arg("D"), py::arg("initial_state"),
        py::arg("out"), py::arg("last_state"), py::arg("conj_sym"), py::arg("bidirectional"), py::arg("return_state"),
        py::arg("num_threads"));
  m.def("s5_apply_vjp", &s5_apply_vjp, py::arg("u"), py::arg("Lambda_bar"), py::arg("B_bar"), py::arg("C"), py::arg("D"),
        py::arg("initial_state"), py::arg("grad_y"), py::arg("grad_last_state"), py::arg("du"), py::arg("dLambda_bar"), py::arg("dB_bar"),
        py::arg("dC"), py::arg("dD"), py::arg("dinitial_state"), py::arg("conj_sym"), py::arg("bidirectional"), py::arg("return_state"),
        py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::s5
