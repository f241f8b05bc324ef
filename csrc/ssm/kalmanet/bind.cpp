// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/kalmanet/args.hpp"

QF_TABLE(ssm, kalmanet)

namespace quatrefoil::ssm::kalmanet {
namespace {

// The inputs of one call, alive as long as the kernel runs.
struct GkaInputs {
  Input q, k, v, alpha, g, gk, H0, U0;
  double ridge_strength;
  std::int64_t num_iter;
  bool exact;
  int threads;

  GkaInputs(const char* function, py::handle q_, py::handle k_, py::handle v_, py::handle alpha_, py::handle g_, py::handle gk_,
            py::handle H0_, py::handle U0_, double ridge, std::int64_t steps, const std::string& solver, int num_threads)
      : q(q_, "q"),
        k(k_, "k"),
        v(v_, "v"),
        alpha(alpha_, "alpha"),
        g(g_, "g"),
        gk(gk_, "gk"),
        H0(H0_, "H0"),
        U0(U0_, "U0"),
        ridge_strength(ridge),
        num_iter(steps),
        exact(solver == "exact"),
        threads(num_threads) {
    require(q.rank == 4 && same(k, q.size()) && same(v, q.size()), function, "k or v does not fit q");
    require(same_or_absent(alpha, gates()) && same_or_absent(g, gates()) && same_or_absent(gk, gates()), function, "a gate does not fit q");
    require(same_or_absent(H0, squares()) && same_or_absent(U0, squares()), function, "an initial state does not fit q");
    require(num_iter >= 0, function, "num_iter is negative");
  }
  std::int64_t gates() const { return q.batch(1); }
  std::int64_t squares() const { return q.dim(4) * q.dim(2) * q.dim(1) * q.dim(1); }
  bool same(const View& x, std::int64_t size) const { return x.dtype == q.dtype && x.size() == size; }
  template <class X>
  bool same_or_absent(const X& x, std::int64_t size) const {
    return !x || same(x, size);
  }

  template <class T>
  Gka<T> args() const {
    return {q.as<T>(), k.as<T>(), v.as<T>(), alpha.as<T>(), g.as<T>(), gk.as<T>(),     H0.as<T>(), U0.as<T>(), nullptr, nullptr,
            nullptr,   q.dim(4),  q.dim(3),  q.dim(2),      q.dim(1),  ridge_strength, num_iter,   exact,      threads};
  }
};

void gka(py::handle q, py::handle k, py::handle v, py::handle alpha, py::handle g, py::handle gk, py::handle H0, py::handle U0,
         py::handle y_, py::handle H_T_, py::handle U_T_, double ridge_strength, std::int64_t num_iter, const std::string& solver, bool,
         int threads) {
  const GkaInputs in("gka", q, k, v, alpha, g, gk, H0, U0, ridge_strength, num_iter, solver, threads);
  const Output y(y_, "y"), H_T(H_T_, "H_T"), U_T(U_T_, "U_T");
  require(in.same(y, in.q.size()) && in.same_or_absent(H_T, in.squares()) && in.same_or_absent(U_T, in.squares()), "gka",
          "a result does not fit q");
  dispatch_real(in.q.dtype, "gka", [&](auto zero) {
    using T = decltype(zero);
    auto p = in.args<T>();
    p.y = y.as<T>(), p.H_T = H_T.as<T>(), p.U_T = U_T.as<T>();
    py::gil_scoped_release released;
    kernels<T>().gka(p);
  });
}

void gka_vjp(py::handle q, py::handle k, py::handle v, py::handle alpha, py::handle g, py::handle gk, py::handle H0, py::handle U0,
             py::handle grad_y_, py::handle grad_H_, py::handle grad_U_, py::handle dq_, py::handle dk_, py::handle dv_, py::handle dalpha_,
             py::handle dg_, py::handle dgk_, py::handle dH0_, py::handle dU0_, double ridge_strength, std::int64_t num_iter,
             const std::string& solver, bool, int threads) {
  const char* function = "gka_vjp";
  const GkaInputs in(function, q, k, v, alpha, g, gk, H0, U0, ridge_strength, num_iter, solver, threads);
  const Input grad_y(grad_y_, "grad_y"), grad_H(grad_H_, "grad_H_T"), grad_U(grad_U_, "grad_U_T");
  const Output dq(dq_, "dq"), dk(dk_, "dk"), dv(dv_, "dv"), dalpha(dalpha_, "dalpha"), dg(dg_, "dg"), dgk(dgk_, "dgk"), dH0(dH0_, "dH0"),
      dU0(dU0_, "dU0");
  for (const View* x :
       {static_cast<const View*>(&grad_y), static_cast<const View*>(&dq), static_cast<const View*>(&dk), static_cast<const View*>(&dv)})
    require(in.same(*x, in.q.size()), function, "a gradient does not fit q");
  require(in.same_or_absent(grad_H, in.squares()) && in.same_or_absent(grad_U, in.squares()), function, "a state's gradient does not fit");
  for (const Output* x : {&dalpha, &dg, &dgk}) require(in.same_or_absent(*x, in.gates()), function, "a gate's gradient does not fit");
  require(in.same_or_absent(dH0, in.squares()) && in.same_or_absent(dU0, in.squares()), function, "a state's gradient does not fit");
  require(!dH0 || in.H0, function, "dH0 without H0");
  dispatch_real(in.q.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    const GkaVjp<T> p{in.args<T>(), grad_y.as<T>(), grad_H.as<T>(), grad_U.as<T>(), dq.as<T>(),  dk.as<T>(),
                      dv.as<T>(),   dalpha.as<T>(), dg.as<T>(),     dgk.as<T>(),    dH0.as<T>(), dU0.as<T>()};
    py::gil_scoped_release released;
    kernels<T>().gka_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("gka", &gka, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("alpha"), py::arg("g"), py::arg("gk"), py::arg("H0"), py::arg("U0"),
        py::arg("y"), py::arg("H_T"), py::arg("U_T"), py::arg("ridge_strength"), py::arg("num_iter"), py::arg("solver"),
        py::arg("output_final_state"), py::arg("num_threads"));
  m.def("gka_vjp", &gka_vjp, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("alpha"), py::arg("g"), py::arg("gk"), py::arg("H0"),
        py::arg("U0"), py::arg("grad_y"), py::arg("grad_H_T"), py::arg("grad_U_T"), py::arg("dq"), py::arg("dk"), py::arg("dv"),
        py::arg("dalpha"), py::arg("dg"), py::arg("dgk"), py::arg("dH0"), py::arg("dU0"), py::arg("ridge_strength"), py::arg("num_iter"),
        py::arg("solver"), py::arg("output_final_state"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::kalmanet
