// Checks arrays from Python and puts them into args.
#include <memory>
#include <optional>
#include <variant>

#include "core/host/isa.hpp"
#include "kron/product/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, product)

namespace quatrefoil::kron::product {
namespace {

// A list of matrices; binds the letters N and M to the input and output sizes of their product.
class FactorList {
 public:
  FactorList(Arguments& call, bool transpose) : fitted_(call.inputs("factors", "m_ n_")), transpose_(transpose) {
    call.require(!fitted_.empty(), "factors is empty, expected at least one matrix");
    call.size("N", call.product(transpose ? "m_" : "n_"));
    call.size("M", call.product(transpose ? "n_" : "m_"));
  }
  const View& first() const { return fitted_[0].view(); }

  template <class T, class F>
  auto with(F&& f) const {
    std::vector<Matrix<T>> list;
    for (const ShapeChecker::CheckedArray& a : fitted_) list.push_back({a, a.view().shape[0], a.view().shape[1]});
    return f(Factors<T>{list.data(), int(list.size()), transpose_});
  }

 private:
  std::vector<ShapeChecker::CheckedArray> fitted_;
  bool transpose_;
};

template <class T>
Product<T> product(Arguments& call, int threads) {
  Product<T> p{};
  p.x = call.input("x", "... N"), p.y = call.output("out", "... M");
  p.B = call.product("..."), p.threads = threads;
  return p;
}

// Factors packed by the kernels of one instruction set.
template <class T>
struct PackedFactors {
  std::shared_ptr<void> prepared;
  void (*apply)(const void*, const Product<T>&);

  explicit PackedFactors(const FactorList& list) : apply(kernels<T>().apply) {
    list.with<T>([&](const Factors<T>& f) { prepared = {released(kernels<T>().prepare, f), kernels<T>().discard}; });
  }
  void multiply(Arguments& call, int threads) const {
    call.run([&](const Product<T>& p) { apply(prepared.get(), p); }, product<T>(call, threads));
  }
};

// Factors packed once for one dtype and one direction. Any thread may use them.
class Plan {
 public:
  Plan(const py::list& factors, bool transpose) : Plan(Arguments("kron.Plan", py::make_tuple(factors), 1), transpose) {}

  // Reads the packed factors, x and the result from the call.
  void multiply(Arguments& call, bool transpose, int threads) const {
    call.require(transpose == transpose_, "packed was built for the opposite value of transpose");
    call.skip();
    call.size("N", N_), call.size("M", M_);
    std::visit([&](const auto& packed) { packed.multiply(call, threads); }, *packed_);
  }

 private:
  Plan(Arguments&& call, bool transpose) : transpose_(transpose) {
    const FactorList list(call, transpose);
    call.dispatch(list.first(), [&](auto zero) { packed_ = PackedFactors<decltype(zero)>(list); });
    N_ = call["N"], M_ = call["M"];
  }
  std::optional<std::variant<PackedFactors<float>, PackedFactors<double>>> packed_;
  bool transpose_;
  std::int64_t N_, M_;
};

template <bool transpose>
void matvec(Arguments& call, const py::object& packed, int threads) {
  if (!packed.is_none()) return call.memo<Plan>("packed", packed).multiply(call, transpose, threads);
  const FactorList list(call, transpose);
  call.dispatch(list.first(), [&](auto zero) {
    using T = decltype(zero);
    const Product<T> p = product<T>(call, threads);
    list.with<T>([&](const Factors<T>& f) { call.run([&](const Product<T>& p) { kernels<T>().apply_once(f, p); }, p); });
  });
}

template <bool transpose>
void matvec_vjp(Arguments& call, const py::object& packed, int threads) {
  if (!packed.is_none()) call.memo<Plan>("packed", packed);  // only checked, because the adjoint uses a different layout
  const FactorList list(call, transpose);
  call.dispatch(list.first(), [&](auto zero) {
    using T = decltype(zero);
    list.with<T>([&](const Factors<T>& factors) {
      Adjoint<T> q{};
      q.factors = factors;
      q.x = call.input("x", "... N"), q.grad = call.input("grad", "... M");
      const auto gradients = call.gradients_of("factors");
      const std::vector<T*> dfactors(gradients.begin(), gradients.end());
      q.dfactors = dfactors.data(), q.dx = call.gradient_of("x");
      q.B = call.product("..."), q.threads = threads;
      call.run(kernels<T>().adjoint, q);
    });
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "matvec", &matvec<false>);
  define(m, "matvec_vjp", &matvec_vjp<false>);
  define(m, "rmatvec", &matvec<true>);
  define(m, "rmatvec_vjp", &matvec_vjp<true>);
  py::class_<Plan>(m, "Plan").def(py::init<const py::list&, bool>(), py::arg("factors"), py::arg("transpose"));
}

}  // namespace quatrefoil::kron::product
