// Checks arrays from Python and puts them into args.
#include "wos/query/bind.hpp"

#include "core/host/isa.hpp"
#include "wos/query/args.hpp"

QF_TABLE(wos, query)

namespace quatrefoil::wos::query {
namespace {

// Reads the arguments that both ops share. Then `outputs` reads the remaining ones, and `kernel` runs.
template <class Outputs, class Kernel>
void run(Arguments& call, const py::object& memo, bool closed, int threads, Outputs&& outputs, Kernel&& kernel) {
  const bool shared = call.peek(0).rank == 2;
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Query<T> p{};
    p.points = call.input("points", shared ? "N D" : "B N D");
    p.frame = call.input("frame", "B E");
    p.B = call["B"], p.N = call["N"], p.shared = shared, p.closed = closed, p.dimension = int(call["D"]), p.threads = threads;
    call.require(call["E"] == p.dimension + 1 && p.dimension >= 2 && call["D"] <= solid::kMaxDimension, "frame must have d + 1 columns");
    const Boundaries boundaries(call, memo, p.B, p.dimension);
    call.require(!boundaries.mesh || p.B == 1, "a mesh must have a single instance");
    p.solid = boundaries.solid;
    outputs(p, boundaries);
    call.all_taken();
    const auto segments = boundaries.segments(p.B);
    p.segments = boundaries.polygons ? segments.data() : nullptr;
    const GilReleased released;
    std::shared_ptr<mesh::OwnedTree<T>> tree;
    if (boundaries.mesh && p.N) tree = boundaries.mesh->template tree<T>(threads, !closed && (p.sign || p.contains));
    p.tree = tree.get();
    kernel(p);
  });
}

void nearest(Arguments& call, bool sign, bool where, bool weights, bool closed, py::object memo, int threads) {
  const auto outputs = [&](auto& p, const Boundaries& boundaries) {
    p.distance = call.output("distance", "B N");
    p.point = call.output_if(where, "point", "B N D");
    p.primitive = call.output_if(where, "primitive", "B N");
    p.weights = call.output_if(weights, "barycentric", "B N D");
    p.sign = sign;
    call.require(!weights || !boundaries.has_no_facets(), "barycentric weights need polygons or a mesh");
  };
  run(call, memo, closed, threads, outputs, [](const auto& p) { kernels<std::decay_t<decltype(*p.distance)>>().nearest(p); });
}

void inside(Arguments& call, bool closed, py::object memo, int threads) {
  const auto outputs = [&](auto& p, const Boundaries&) { p.contains = call.output("contains", "B N"); };
  run(call, memo, closed, threads, outputs, [](const auto& p) { kernels<std::decay_t<decltype(*p.distance)>>().inside(p); });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "nearest", &nearest);
  define(m, "inside", &inside);
}

}  // namespace quatrefoil::wos::query
