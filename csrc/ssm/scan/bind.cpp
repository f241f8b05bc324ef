// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "core/host/split.hpp"
#include "py/caster.hpp"
#include "ssm/scan/args.hpp"

QF_TABLE(ssm, scan)

namespace quatrefoil::ssm::scan {
namespace {

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
  dispatch_real(real_of(b.dtype), "linear_scan", [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto element, auto kernel) {
      using E = decltype(element);
      const LinearScan<E> p{a.as<E>(), b.as<E>(), h0.as<E>(), h.as<E>(), rows, reverse, threads};
      py::gil_scoped_release released;
      kernel(p);
    };
    is_complex(b.dtype) ? run(cplx<T>{}, kernels<T>().linear_scan_complex) : run(T{}, kernels<T>().linear_scan);
  });
}

void linear_scan_vjp(py::handle a_, py::handle b_, py::handle h0_, py::handle grad_, py::handle da_, py::handle db_, py::handle dh0_,
                     bool reverse, int axis, int threads) {
  const View a = strided_view(a_, "a"), b = strided_view(b_, "b"), h0 = optional_view(h0_, "h0"), grad = strided_view(grad_, "grad");
  const Output da(da_, "da"), db(db_, "db"), dh0(dh0_, "dh0");
  require(grad.size() == b.size() && da.size() == b.size() && db.size() == b.size(), "linear_scan_vjp", "gradients do not fit b");
  const auto rows = scan_rows<7>("linear_scan_vjp", b, axis, {&a, &b, h0.data ? &h0 : nullptr, &grad, &da, &db, dh0 ? &dh0 : nullptr},
                                 {false, false, true, false, false, false, true});
  dispatch_real(real_of(b.dtype), "linear_scan_vjp", [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto element, auto kernel) {
      using E = decltype(element);
      const LinearScanVjp<E> p{a.as<E>(), b.as<E>(), h0.as<E>(), grad.as<E>(), da.as<E>(), db.as<E>(), dh0.as<E>(), rows, reverse, threads};
      py::gil_scoped_release released;
      kernel(p);
    };
    is_complex(b.dtype) ? run(cplx<T>{}, kernels<T>().linear_scan_complex_vjp) : run(T{}, kernels<T>().linear_scan_vjp);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("linear_scan", &linear_scan, py::arg("a"), py::arg("b"), py::arg("h0"), py::arg("out"), py::arg("reverse"), py::arg("axis"),
        py::arg("num_threads"));
  m.def("linear_scan_vjp", &linear_scan_vjp, py::arg("a"), py::arg("b"), py::arg("h0"), py::arg("grad"), py::arg("da"), py::arg("db"),
        py::arg("dh0"), py::arg("reverse"), py::arg("axis"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::scan
