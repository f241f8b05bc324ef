// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "core/split.hpp"
#include "py/caster.hpp"
#include "ssm/args.hpp"

QF_TABLE(ssm)

namespace quatrefoil {
namespace {

template <class T>
ssm::FftConv<T> conv_args(const char* function, const Input& u, const Input& k, const Input& D, const Input& k_reverse, int threads) {
  ssm::FftConv<T> p{};
  p.B = u.batch(2), p.H = u.dim(2), p.L = u.dim(1), p.Lk = k.dim(1), p.Lr = k_reverse ? k_reverse.dim(1) : 0;
  require(u.rank >= 2 && k.rank == 2 && k.dim(2) == p.H, function, "k does not fit u");
  require(!D || D.size() == p.H, function, "D does not fit u");
  require(!k_reverse || (k_reverse.rank == 2 && k_reverse.dim(2) == p.H), function, "k_reverse does not fit u");
  require(k.dtype == u.dtype && (!D || D.dtype == u.dtype) && (!k_reverse || k_reverse.dtype == u.dtype), function, "mixed dtypes");
  p.u = u.as<T>(), p.k = k.as<T>(), p.D = D.as<T>(), p.k_reverse = k_reverse.as<T>();
  p.threads = threads;
  return p;
}

void fft_conv(py::handle u_, py::handle k_, py::handle D_, py::handle k_reverse_, py::handle y_, int threads) {
  const Input u(u_, "u"), k(k_, "k"), D(D_, "D"), k_reverse(k_reverse_, "k_reverse");
  const Output y(y_, "out");
  require(y.size() == u.size() && y.dtype == u.dtype, "fft_conv", "out does not fit u");
  dispatch_real(u.dtype, "fft_conv", [&](auto zero) {
    using T = decltype(zero);
    auto p = conv_args<T>("fft_conv", u, k, D, k_reverse, threads);
    p.y = y.as<T>();
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).fft_conv(p);
  });
}

void fft_conv_vjp(py::handle u_, py::handle k_, py::handle D_, py::handle k_reverse_, py::handle grad_, py::handle du_, py::handle dk_,
                  py::handle dD_, py::handle dk_reverse_, int threads) {
  const Input u(u_, "u"), k(k_, "k"), D(D_, "D"), k_reverse(k_reverse_, "k_reverse"), grad(grad_, "grad");
  const Output du(du_, "du"), dk(dk_, "dk"), dD(dD_, "dD"), dk_reverse(dk_reverse_, "dk_reverse");
  require(grad.size() == u.size() && du.size() == u.size() && dk.size() == k.size(), "fft_conv_vjp", "gradients do not fit");
  require((!dD || dD.size() == D.size()) && (!dk_reverse || dk_reverse.size() == k_reverse.size()), "fft_conv_vjp", "gradients do not fit");
  require(grad.dtype == u.dtype && du.dtype == u.dtype && dk.dtype == u.dtype && (!dD || dD.dtype == u.dtype) &&
              (!dk_reverse || dk_reverse.dtype == u.dtype),
          "fft_conv_vjp", "mixed dtypes");
  dispatch_real(u.dtype, "fft_conv_vjp", [&](auto zero) {
    using T = decltype(zero);
    const ssm::FftConvVjp<T> p{
        conv_args<T>("fft_conv_vjp", u, k, D, k_reverse, threads), grad.as<T>(), du.as<T>(), dk.as<T>(), dD.as<T>(), dk_reverse.as<T>()};
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).fft_conv_vjp(p);
  });
}

bool broadcasts(const View& v, const View& full, int skip) {
  if (v.rank > full.rank - (skip >= 0)) return false;
  int j = v.rank - 1;
  for (int i = full.rank - 1; i >= 0 && j >= 0; --i) {
    if (i == skip) continue;
    if (v.shape[j] != full.shape[i] && v.shape[j] != 1) return false;
    --j;
  }
  return true;
}

bool is_complex(Dtype dtype) { return dtype == Dtype::c64 || dtype == Dtype::c128; }
Dtype real_part(Dtype dtype) { return dtype == Dtype::c64 ? Dtype::f32 : dtype == Dtype::c128 ? Dtype::f64 : dtype; }

// The operands of a scan over `axis` of b; those at the index of h0 lack that axis.
template <int operands>
Rows<operands> scan_rows(const char* function, const View& b, int axis, const View* const (&views)[operands],
                         const bool (&lacks_axis)[operands]) {
  require(axis >= 0 && axis < b.rank, function, "axis out of range");
  std::int64_t strides[operands][View::kMaxRank] = {};
  for (int o = 0; o < operands; ++o) {
    if (!views[o]) continue;
    const int skip = lacks_axis[o] ? axis : -1;
    require(views[o]->dtype == b.dtype && broadcasts(*views[o], b, skip), function, "shapes or dtypes do not fit");
    broadcast_strides(*views[o], b, skip, strides[o]);
  }
  return split_rows<operands>(b, axis, strides);
}

View optional_view(py::handle h, const char* name) { return h.is_none() ? View{} : strided_view(h, name); }

void linear_scan(py::handle a_, py::handle b_, py::handle h0_, py::handle h_, bool reverse, int axis, int threads) {
  const View a = strided_view(a_, "a"), b = strided_view(b_, "b"), h0 = optional_view(h0_, "h0");
  const Output h(h_, "out");
  require(h.size() == b.size(), "linear_scan", "out does not fit b");
  const auto rows = scan_rows<4>("linear_scan", b, axis, {&a, &b, h0.data ? &h0 : nullptr, &h}, {false, false, true, false});
  dispatch_real(real_part(b.dtype), "linear_scan", [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto element, auto kernel) {
      using E = decltype(element);
      const ssm::LinearScan<E> p{a.as<E>(), b.as<E>(), h0.as<E>(), h.as<E>(), rows, reverse, threads};
      py::gil_scoped_release released;
      kernel(p);
    };
    is_complex(b.dtype) ? run(cplx<T>{}, kernels<T>(ssm::table()).linear_scan_complex) : run(T{}, kernels<T>(ssm::table()).linear_scan);
  });
}

void linear_scan_vjp(py::handle a_, py::handle b_, py::handle h0_, py::handle grad_, py::handle da_, py::handle db_, py::handle dh0_,
                     bool reverse, int axis, int threads) {
  const View a = strided_view(a_, "a"), b = strided_view(b_, "b"), h0 = optional_view(h0_, "h0"), grad = strided_view(grad_, "grad");
  const Output da(da_, "da"), db(db_, "db"), dh0(dh0_, "dh0");
  require(grad.size() == b.size() && da.size() == b.size() && db.size() == b.size(), "linear_scan_vjp", "gradients do not fit b");
  const auto rows = scan_rows<7>("linear_scan_vjp", b, axis, {&a, &b, h0.data ? &h0 : nullptr, &grad, &da, &db, dh0 ? &dh0 : nullptr},
                                 {false, false, true, false, false, false, true});
  dispatch_real(real_part(b.dtype), "linear_scan_vjp", [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto element, auto kernel) {
      using E = decltype(element);
      const ssm::LinearScanVjp<E> p{a.as<E>(),  b.as<E>(),   h0.as<E>(), grad.as<E>(), da.as<E>(),
                                    db.as<E>(), dh0.as<E>(), rows,       reverse,      threads};
      py::gil_scoped_release released;
      kernel(p);
    };
    is_complex(b.dtype) ? run(cplx<T>{}, kernels<T>(ssm::table()).linear_scan_complex_vjp)
                        : run(T{}, kernels<T>(ssm::table()).linear_scan_vjp);
  });
}

}  // namespace

void register_ssm(py::module_& m) {
  m.def("fft_conv", &fft_conv, py::arg("u"), py::arg("k"), py::arg("D"), py::arg("k_reverse"), py::arg("out"), py::arg("num_threads"));
  m.def("fft_conv_vjp", &fft_conv_vjp, py::arg("u"), py::arg("k"), py::arg("D"), py::arg("k_reverse"), py::arg("grad"), py::arg("du"),
        py::arg("dk"), py::arg("dD"), py::arg("dk_reverse"), py::arg("num_threads"));
  m.def("linear_scan", &linear_scan, py::arg("a"), py::arg("b"), py::arg("h0"), py::arg("out"), py::arg("reverse"), py::arg("axis"),
        py::arg("num_threads"));
  m.def("linear_scan_vjp", &linear_scan_vjp, py::arg("a"), py::arg("b"), py::arg("h0"), py::arg("grad"), py::arg("da"), py::arg("db"),
        py::arg("dh0"), py::arg("reverse"), py::arg("axis"), py::arg("num_threads"));
}

}  // namespace quatrefoil
