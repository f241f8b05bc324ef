// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "core/host/split.hpp"
#include "py/arguments.hpp"
#include "ssm/scan/args.hpp"

QF_TABLE(ssm, scan)

namespace quatrefoil::ssm::scan {
namespace {

bool broadcasts(const View& v, const View& full) {
  bool fits = v.rank <= full.rank;
  for (int i = 1; fits && i <= v.rank; ++i) fits = v.dim(i) == full.dim(i) || v.dim(i) == 1;
  return fits;
}

// The strides of a scan's operands along `axis` of b; operands marked in `lacks_axis` do not have this axis.
template <int operands>
Rows<operands> rows_of(const View& b, int axis, const View* const (&views)[operands], const bool (&lacks_axis)[operands]) {
  std::int64_t strides[operands][View::kMaxRank] = {};
  for (int o = 0; o < operands; ++o)
    if (views[o]->present) broadcast_strides(*views[o], b, lacks_axis[o] ? axis : -1, strides[o]);
  return split_rows<operands>(b, axis, strides);
}

struct Operands {
  const View &a, &b, &h0;
};
// Puts a, b and h0 into a struct with fields of the same names; returns their views.
template <class P>
Operands take_operands(Arguments& call, P& p, bool reverse, int axis, int threads) {
  const auto a = call.strided("a", "a.."), b = call.strided("b", "b..");
  const View& full = b.view();
  call.require(broadcasts(a.view(), full), "a does not broadcast to b");
  call.require(axis >= 0 && axis < full.rank, "axis is out of range");
  call.axes("before..", full.shape, axis);
  call.axes("after..", full.shape + axis + 1, full.rank - axis - 1);
  const auto h0 = call.optional_strided("h0", "before.. after..");
  p.a = a, p.b = b, p.h0 = h0;
  p.reverse = reverse, p.threads = threads;
  return {a.view(), full, h0.view()};
}

// Calls f(E(), kernels), where E is the element type of the scan.
template <class T, class F>
void dispatch_numbers(const Arguments& call, F&& f) {
  is_complex(call.peek(0).dtype) ? f(cplx<T>{}, kernels<T>().complex) : f(T{}, kernels<T>().real);
}

template <class T>
void linear(Arguments& call, bool reverse, int axis, int threads) {
  dispatch_numbers<T>(call, [&](auto number, const auto& kernels) {
    Linear<decltype(number)> p{};
    const Operands in = take_operands(call, p, reverse, axis, threads);
    const auto h = call.output_like("out", "b");
    p.h = h, p.rows = rows_of<4>(in.b, axis, {&in.a, &in.b, &in.h0, &h.view()}, {false, false, true, false});
    call.run(kernels.linear, p);
  });
}

template <class T>
void linear_adjoint(Arguments& call, bool reverse, int axis, int threads) {
  dispatch_numbers<T>(call, [&](auto number, const auto& kernels) {
    LinearAdjoint<decltype(number)> q{};
    const Operands in = take_operands(call, q, reverse, axis, threads);
    const auto grad = call.strided_like("grad", "b"), da = call.output_like("da", "b");  // the caller sums over a's broadcast axes
    const auto db = call.gradient_of("b"), dh0 = call.gradient_of("h0");
    q.grad = grad, q.da = da, q.db = db, q.dh0 = dh0;
    q.rows = rows_of<7>(in.b, axis, {&in.a, &in.b, &in.h0, &grad.view(), &da.view(), &db.view(), &dh0.view()},
                        {false, false, true, false, false, false, true});
    call.run(kernels.linear_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "linear_scan", &linear<float>, &linear<double>);
  define(m, "linear_scan_vjp", &linear_adjoint<float>, &linear_adjoint<double>);
}

}  // namespace quatrefoil::ssm::scan
