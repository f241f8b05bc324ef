// Arrays from Python -> args, checked. Computes nothing.
#include <memory>
#include <optional>
#include <variant>

#include "core/host/isa.hpp"
#include "kron/product/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, product)

namespace quatrefoil::kron::product {
namespace {

// A list of matrices; letters N and M become the sizes of what their product takes and gives.
class FactorList {
 public:
  FactorList(Arguments& given, bool transpose) : fitted_(given.inputs("factors", "m_ n_")), transpose_(transpose) {
    given.require(!fitted_.empty(), "factors is empty, expected at least one");
    given.size("N", given.product(transpose ? "m_" : "n_"));
    given.size("M", given.product(transpose ? "n_" : "m_"));
  }
  const View& first() const { return fitted_[0].view(); }

  // f(factors)
  template <class T, class F>
  auto with(F&& f) const {
    std::vector<Matrix<T>> list;
    for (const Fit::Fitted& a : fitted_) list.push_back({a, a.view().shape[0], a.view().shape[1]});
    return f(Factors<T>{list.data(), int(list.size()), transpose_});
  }

 private:
  std::vector<Fit::Fitted> fitted_;
  bool transpose_;
};

// Takes x and the result.
template <class T>
Product<T> product(Arguments& given, int threads) {
  Product<T> p{};
  p.x = given.input("x", "... N"), p.y = given.output("out", "... M");
  p.B = given.product("..."), p.threads = threads;
  return p;
}

// Factors as the kernels of one instruction set have packed them.
template <class T>
struct Packed {
  std::shared_ptr<void> prepared;
  void (*apply)(const void*, const Product<T>&);

  explicit Packed(const FactorList& list) : apply(kernels<T>().apply) {
    list.with<T>([&](const Factors<T>& f) { prepared = {released(kernels<T>().prepare, f), kernels<T>().discard}; });
  }
  void multiply(Arguments& given, int threads) const {
    given.run([&](const Product<T>& p) { apply(prepared.get(), p); }, product<T>(given, threads));
  }
};

// Factors packed once, for one dtype and one direction, whose product goes by letters N and M; any thread may use it.
class Plan {
 public:
  Plan(const py::list& factors, bool transpose) : Plan(Arguments("kron.Plan", py::make_tuple(factors), 1), transpose) {}

  // Takes factors, which are those that were packed, x and the result.
  void multiply(Arguments& given, bool transpose, int threads) const {
    given.require(transpose == transpose_, "packed is of factors for the other direction");
    given.skip();
    given.size("N", N_), given.size("M", M_);
    std::visit([&](const auto& packed) { packed.multiply(given, threads); }, *packed_);
  }

 private:
  Plan(Arguments&& given, bool transpose) : transpose_(transpose) {
    const FactorList list(given, transpose);
    given.dispatch(list.first(), [&](auto zero) { packed_ = Packed<decltype(zero)>(list); });
    N_ = given["N"], M_ = given["M"];
  }
  std::optional<std::variant<Packed<float>, Packed<double>>> packed_;
  bool transpose_;
  std::int64_t N_, M_;
};

template <bool transpose>
void matvec(Arguments& given, const py::object& packed, int threads) {
  if (!packed.is_none()) return given.memo<Plan>("packed", packed).multiply(given, transpose, threads);
  const FactorList list(given, transpose);
  given.dispatch(list.first(), [&](auto zero) {
    using T = decltype(zero);
    const Product<T> p = product<T>(given, threads);
    list.with<T>([&](const Factors<T>& f) { given.run([&](const Product<T>& p) { kernels<T>().apply_once(f, p); }, p); });
  });
}

template <bool transpose>
void matvec_vjp(Arguments& given, const py::object& packed, int threads) {
  if (!packed.is_none()) given.memo<Plan>("packed", packed);  // of no use: the adjoint packs in another way
  const FactorList list(given, transpose);
  given.dispatch(list.first(), [&](auto zero) {
    using T = decltype(zero);
    list.with<T>([&](const Factors<T>& factors) {
      Adjoint<T> q{};
      q.factors = factors;
      q.x = given.input("x", "... N"), q.grad = given.input("grad", "... M");
      const auto gradients = given.gradients_of("factors");
      const std::vector<T*> dfactors(gradients.begin(), gradients.end());
      q.dfactors = dfactors.data(), q.dx = given.gradient_of("x");
      q.B = given.product("..."), q.threads = threads;
      given.run(kernels<T>().adjoint, q);
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
