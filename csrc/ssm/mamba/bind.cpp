// Views -> args, and the GIL released around the kernels. Computes nothing.
#include <initializer_list>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/mamba/args.hpp"

QF_TABLE(ssm, mamba)

namespace quatrefoil::ssm::mamba {
namespace {

void require_shape(const View& v, std::initializer_list<std::int64_t> shape, const char* function, const char* what) {
  bool fits = v.rank == int(shape.size());
  int i = 0;
  for (std::int64_t n : shape) fits = fits && v.shape[i++] == n;
  require(fits, function, what);
}

template <class E>
Signal<const E> signal(const View& v) {
  return {v.as<const E>(), v.stride[0], v.stride[1], v.stride[2]};
}

template <class E>
Mixing<E> mixing(const View& v) {
  const E* at = v.as<const E>();
  if (v.rank == 2) return {at, 0, v.stride[0], v.stride[1], 0, v.shape[0], false};
  if (v.rank == 3) return {at, v.stride[0], 0, v.stride[1], v.stride[2], 1, true};
  return {at, v.stride[0], v.stride[1], v.stride[2], v.stride[3], v.shape[1], true};
}

// Everything that both directions are given, as views; holds the copies of what was not contiguous.
struct ScanInputs {
  Strided u, delta, B, C, z;
  Input A, D, delta_bias;
  ScanInputs(py::handle u_, py::handle delta_, py::handle A_, py::handle B_, py::handle C_, py::handle D_, py::handle z_, py::handle bias_)
      : u(u_, "u"), delta(delta_, "delta"), B(B_, "B"), C(C_, "C"), z(z_, "z"), A(A_, "A"), D(D_, "D"), delta_bias(bias_, "delta_bias") {
    const char* f = "selective_scan_fn";
    require(u.rank == 3 && A.rank == 2 && A.shape[0] == u.shape[1], f, "u and A do not fit");
    const std::int64_t items = u.shape[0], channels = u.shape[1], length = u.shape[2], states = A.shape[1];
    require_shape(delta, {items, channels, length}, f, "delta does not fit u");
    if (!z_.is_none()) require_shape(z, {items, channels, length}, f, "z does not fit u");
    for (const View* m : {&B, &C}) {
      require(m->dtype == A.dtype && m->rank >= 2 && m->rank <= 4, f, "B or C do not fit A");
      if (m->rank == 2) require_shape(*m, {channels, states}, f, "B or C do not fit A");
      if (m->rank == 3) require_shape(*m, {items, states, length}, f, "B or C do not fit u and A");
      if (m->rank != 4) continue;
      require_shape(*m, {items, m->shape[1], states, length}, f, "B or C do not fit u and A");
      require(m->shape[1] > 0 && channels % m->shape[1] == 0, f, "groups do not divide the channels");
    }
    for (const Input* x : {&D, &delta_bias})
      if (*x) require_shape(*x, {channels}, f, "D or delta_bias do not fit u");
    const View* const real[] = {&delta, &z, &D, &delta_bias};
    for (const View* x : real) require(!x->rank || x->dtype == u.dtype, f, "dtypes do not fit");
    require(real_of(A.dtype) == u.dtype, f, "dtypes do not fit");
  }
  template <class T, class E>
  SelectiveScan<T, E> args(bool delta_softplus, int threads) const {
    return {u.shape[0],   u.shape[1],   A.shape[1], u.shape[2],         signal<T>(u),   signal<T>(delta), signal<T>(z), A.as<E>(),
            mixing<E>(B), mixing<E>(C), D.as<T>(),  delta_bias.as<T>(), delta_softplus, nullptr,          nullptr,      threads};
  }
};

// f(T(), E(), kernels) with E the numbers of the states.
template <class F>
void dispatch_states(const ScanInputs& in, F&& f) {
  dispatch_real(in.u.dtype, "selective_scan_fn", [&](auto zero) {
    using T = decltype(zero);
    is_complex(in.A.dtype) ? f(T{}, cplx<T>{}) : f(T{}, T{});
  });
}

void selective_scan_fn(py::handle u, py::handle delta, py::handle A, py::handle B, py::handle C, py::handle D, py::handle z,
                       py::handle delta_bias, py::handle out_, py::handle last_, bool delta_softplus, bool, int threads) {
  const ScanInputs in(u, delta, A, B, C, D, z, delta_bias);
  const Output out(out_, "out"), last(last_, "last_state");
  require(out.size() == in.u.size() && (!last || last.size() == in.u.shape[0] * in.A.size()), "selective_scan_fn", "outputs do not fit");
  dispatch_states(in, [&](auto zero, auto state) {
    using T = decltype(zero);
    using E = decltype(state);
    auto p = in.args<T, E>(delta_softplus, threads);
    p.out = out.as<T>();
    p.last = last.as<E>();
    const auto& k = kernels<T>();
    py::gil_scoped_release released;
    if constexpr (sizeof(E) == sizeof(T))
      k.selective_scan(p);
    else
      k.selective_scan_complex(p);
  });
}

void selective_scan_fn_vjp(py::handle u, py::handle delta, py::handle A, py::handle B, py::handle C, py::handle D, py::handle z,
                           py::handle delta_bias, py::handle grad_, py::handle grad_last_, py::handle du_, py::handle ddelta_,
                           py::handle dA_, py::handle dB_, py::handle dC_, py::handle dD_, py::handle dz_, py::handle ddelta_bias_,
                           bool delta_softplus, bool, int threads) {
  const char* f = "selective_scan_fn_vjp";
  const ScanInputs in(u, delta, A, B, C, D, z, delta_bias);
  const Strided grad(grad_, "grad");
  const Input grad_last(grad_last_, "grad_last_state");
  const Output du(du_, "du"), ddelta(ddelta_, "ddelta"), dA(dA_, "dA"), dB(dB_, "dB"), dC(dC_, "dC"), dD(dD_, "dD"), dz(dz_, "dz"),
      ddelta_bias(ddelta_bias_, "ddelta_bias");
  require_shape(grad, {in.u.shape[0], in.u.shape[1], in.u.shape[2]}, f, "grad does not fit u");
  require(!grad_last || grad_last.size() == in.u.shape[0] * in.A.size(), f, "grad_last_state does not fit A");
  require(du.size() == in.u.size() && ddelta.size() == in.u.size() && dA.size() == in.A.size() && dB.size() == in.B.size() &&
              dC.size() == in.C.size() && dD.size() == in.D.size() && dz.size() == in.z.size() &&
              ddelta_bias.size() == in.delta_bias.size() && bool(dD) == bool(in.D) && bool(dz) == !z.is_none() &&
              bool(ddelta_bias) == bool(in.delta_bias),
          f, "gradients do not fit their inputs");
  dispatch_states(in, [&](auto zero, auto state) {
    using T = decltype(zero);
    using E = decltype(state);
    const SelectiveScanVjp<T, E> p{in.args<T, E>(delta_softplus, threads),
                                   signal<T>(grad),
                                   grad_last.as<E>(),
                                   du.as<T>(),
                                   ddelta.as<T>(),
                                   dz.as<T>(),
                                   dA.as<E>(),
                                   dB.as<E>(),
                                   dC.as<E>(),
                                   dD.as<T>(),
                                   ddelta_bias.as<T>()};
    const auto& k = kernels<T>();
    py::gil_scoped_release released;
    if constexpr (sizeof(E) == sizeof(T))
      k.selective_scan_vjp(p);
    else
      k.selective_scan_complex_vjp(p);
  });
}

struct ConvInputs {
  Strided x, initial;
  Input weight, bias, segments;
  ConvInputs(py::handle x_, py::handle weight_, py::handle bias_, py::handle segments_, py::handle initial_)
      : x(x_, "x"), initial(initial_, "initial_states"), weight(weight_, "weight"), bias(bias_, "bias"), segments(segments_, "seq_idx") {
    const char* f = "causal_conv1d_fn";
    require(x.rank == 3 && weight.rank == 2 && weight.shape[0] == x.shape[1] && weight.shape[1] > 0, f, "x and weight do not fit");
    require(weight.dtype == x.dtype, f, "dtypes do not fit");
    if (bias) {
      require_shape(bias, {x.shape[1]}, f, "bias does not fit x");
      require(bias.dtype == x.dtype, f, "dtypes do not fit");
    }
    if (segments) {
      require_shape(segments, {x.shape[0], x.shape[2]}, f, "seq_idx does not fit x");
      require(segments.dtype == Dtype::i64, f, "seq_idx: expected int64");
    }
    if (!initial_.is_none()) {
      require_shape(initial, {x.shape[0], x.shape[1], taps() - 1}, f, "initial_states do not fit x and weight");
      require(initial.dtype == x.dtype, f, "dtypes do not fit");
    }
  }
  std::int64_t taps() const { return weight.shape[1]; }
  std::int64_t states() const { return x.shape[0] * x.shape[1] * (taps() - 1); }
  template <class T>
  CausalConv<T> args(const std::string& activation, int threads) const {
    return {x.shape[0],
            x.shape[1],
            x.shape[2],
            taps(),
            signal<T>(x),
            signal<T>(initial),
            weight.as<T>(),
            bias.as<T>(),
            segments.as<std::int64_t>(),
            activation == "silu",
            nullptr,
            nullptr,
            threads};
  }
};

void causal_conv1d_fn(py::handle x, py::handle weight, py::handle bias, py::handle seq_idx, py::handle initial, py::handle out_,
                      py::handle final_, const std::string& activation, bool, int threads) {
  const ConvInputs in(x, weight, bias, seq_idx, initial);
  const Output out(out_, "out"), final(final_, "final_states");
  require(out.size() == in.x.size() && (!final || final.size() == in.states()), "causal_conv1d_fn", "outputs do not fit");
  dispatch_real(in.x.dtype, "causal_conv1d_fn", [&](auto zero) {
    using T = decltype(zero);
    auto p = in.args<T>(activation, threads);
    p.out = out.as<T>();
    p.final = final.as<T>();
    py::gil_scoped_release released;
    kernels<T>().causal_conv(p);
  });
}

void causal_conv1d_fn_vjp(py::handle x, py::handle weight, py::handle bias, py::handle seq_idx, py::handle initial, py::handle grad_,
                          py::handle grad_final_, py::handle dx_, py::handle dweight_, py::handle dbias_, py::handle, py::handle dinitial_,
                          const std::string& activation, bool, int threads) {
  const char* f = "causal_conv1d_fn_vjp";
  const ConvInputs in(x, weight, bias, seq_idx, initial);
  const Strided grad(grad_, "grad");
  const Input grad_final(grad_final_, "grad_final_states");
  const Output dx(dx_, "dx"), dweight(dweight_, "dweight"), dbias(dbias_, "dbias"), dinitial(dinitial_, "dinitial_states");
  require_shape(grad, {in.x.shape[0], in.x.shape[1], in.x.shape[2]}, f, "grad does not fit x");
  require(!grad_final || grad_final.size() == in.states(), f, "grad_final_states does not fit");
  require(dx.size() == in.x.size() && dweight.size() == in.weight.size() && bool(dbias) == bool(in.bias) &&
              dbias.size() == in.bias.size() && bool(dinitial) == !initial.is_none() && (!dinitial || dinitial.size() == in.states()),
          f, "gradients do not fit their inputs");
  dispatch_real(in.x.dtype, f, [&](auto zero) {
    using T = decltype(zero);
    const CausalConvVjp<T> p{
        in.args<T>(activation, threads), signal<T>(grad), grad_final.as<T>(), dx.as<T>(), dweight.as<T>(), dbias.as<T>(), dinitial.as<T>()};
    py::gil_scoped_release released;
    kernels<T>().causal_conv_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("selective_scan_fn", &selective_scan_fn);
  m.def("selective_scan_fn_vjp", &selective_scan_fn_vjp);
  m.def("causal_conv1d_fn", &causal_conv1d_fn);
  m.def("causal_conv1d_fn_vjp", &causal_conv1d_fn_vjp);
}

}  // namespace quatrefoil::ssm::mamba
