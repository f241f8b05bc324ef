// Views -> args, and the GIL released around the kernels. Computes nothing.
#include <vector>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "kron/product/args.hpp"
#include "py/caster.hpp"

QF_TABLE(kron, product)

namespace quatrefoil::kron::product {
namespace {

std::int64_t multiplied(std::int64_t a, std::int64_t b, const char* function) {
  std::int64_t product;
  require(!__builtin_mul_overflow(a, b, &product), function, "the product of the factors' sizes is beyond 2^63");
  return product;
}

// A list of matrices of one dtype, kept alive while they are used.
class FactorList {
 public:
  FactorList(const py::list& list, bool transpose, const char* function) : transpose_(transpose) {
    require(!list.empty(), function, "no factors");
    views_.reserve(list.size());
    for (py::handle h : list) {
      views_.emplace_back(h, "factors");
      const Input& f = views_.back();
      require(f.rank == 2 && f.dtype == views_[0].dtype, function, "factors must be matrices of one dtype");
      in_ = multiplied(in_, f.dim(transpose ? 2 : 1), function);
      out_ = multiplied(out_, f.dim(transpose ? 1 : 2), function);
    }
  }
  Dtype dtype() const { return views_[0].dtype; }
  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  std::size_t count() const { return views_.size(); }
  const View& operator[](std::size_t i) const { return views_[i]; }

  template <class T>
  std::vector<Matrix<T>> matrices() const {
    std::vector<Matrix<T>> found;
    found.reserve(views_.size());
    for (const Input& f : views_) found.push_back({f.as<T>(), f.dim(2), f.dim(1)});
    return found;
  }
  template <class T>
  Factors<T> factors(const std::vector<Matrix<T>>& matrices) const {
    return {matrices.data(), int(matrices.size()), transpose_};
  }

 private:
  std::vector<Input> views_;
  bool transpose_;
  std::int64_t in_ = 1, out_ = 1;
};

// The rows of x and y, if both have the lengths N and M.
std::int64_t batch_of(const View& x, std::int64_t N, const View& y, std::int64_t M, Dtype dtype, const char* function) {
  require(x.rank >= 1 && x.dim(1) == N && y.rank == x.rank && y.dim(1) == M && y.batch(1) == x.batch(1), function,
          "x and the result do not fit the factors");
  require(x.dtype == dtype && y.dtype == dtype, function, "mixed dtypes");
  return x.batch(1);
}

// Factors packed once, for one dtype and one direction; any thread may use it.
class Plan {
 public:
  Plan(const py::list& list, bool transpose) {
    const FactorList factors(list, transpose, "Plan");
    dtype_ = factors.dtype(), N_ = factors.in(), M_ = factors.out();
    dispatch_real(dtype_, "Plan", [&](auto zero) {
      using T = decltype(zero);
      const auto matrices = factors.template matrices<T>();
      discard_ = kernels<T>().discard;
      prepared_ = kernels<T>().prepare(factors.template factors<T>(matrices));
      if constexpr (sizeof(T) == 4)
        apply_.f32 = kernels<T>().apply;
      else
        apply_.f64 = kernels<T>().apply;
    });
  }
  ~Plan() { discard_(prepared_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void apply(py::handle x_, py::handle y_, int threads) const {
    const Input x(x_, "x");
    const Output y(y_, "out");
    const std::int64_t B = batch_of(x, N_, y, M_, dtype_, "matvec");
    py::gil_scoped_release released;
    if (dtype_ == Dtype::f32)
      apply_.f32(prepared_, {x.as<float>(), y.as<float>(), B, threads});
    else
      apply_.f64(prepared_, {x.as<double>(), y.as<double>(), B, threads});
  }

 private:
  void* prepared_ = nullptr;
  void (*discard_)(void*) = nullptr;
  struct {
    void (*f32)(const void*, const Product<float>&) = nullptr;
    void (*f64)(const void*, const Product<double>&) = nullptr;
  } apply_;
  Dtype dtype_;
  std::int64_t N_, M_;
};

void product(const py::list& list, py::handle x, py::handle y, int threads, bool transpose) { Plan(list, transpose).apply(x, y, threads); }

void product_vjp(const py::list& list, py::handle x_, py::handle grad_, const py::list& dlist, py::handle dx_, int threads,
                 bool transpose) {
  const char* function = transpose ? "rmatvec_vjp" : "matvec_vjp";
  const FactorList factors(list, transpose, function);
  const Input x(x_, "x"), grad(grad_, "grad");
  const Output dx(dx_, "dx");
  const std::int64_t B = batch_of(x, factors.in(), grad, factors.out(), factors.dtype(), function);
  require(dx.size() == x.size() && dx.dtype == x.dtype && dlist.size() == factors.count(), function, "gradients do not fit");
  std::vector<Output> gradients;
  for (std::size_t i = 0; i < factors.count(); ++i) {
    gradients.emplace_back(dlist[i], "dfactors");
    const Output& g = gradients.back();
    require(g.rank == 2 && g.dim(1) == factors[i].dim(1) && g.dim(2) == factors[i].dim(2) && g.dtype == x.dtype, function,
            "gradients do not fit");
  }
  dispatch_real(x.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    const auto matrices = factors.template matrices<T>();
    std::vector<T*> dfactors;
    for (const Output& g : gradients) dfactors.push_back(g.as<T>());
    const Adjoint<T> p{factors.template factors<T>(matrices), x.as<T>(), grad.as<T>(), dfactors.data(), dx.as<T>(), B, threads};
    py::gil_scoped_release released;
    kernels<T>().adjoint(p);
  });
}

template <bool transpose>
void matvec(const py::list& factors, py::handle x, py::handle out, int threads) {
  product(factors, x, out, threads, transpose);
}

template <bool transpose>
void matvec_vjp(const py::list& factors, py::handle x, py::handle grad, const py::list& dfactors, py::handle dx, int threads) {
  product_vjp(factors, x, grad, dfactors, dx, threads, transpose);
}

}  // namespace

void bind(py::module_& m) {
  m.def("matvec", &matvec<false>, py::arg("factors"), py::arg("x"), py::arg("out"), py::arg("num_threads"));
  m.def("rmatvec", &matvec<true>, py::arg("factors"), py::arg("x"), py::arg("out"), py::arg("num_threads"));
  m.def("matvec_vjp", &matvec_vjp<false>, py::arg("factors"), py::arg("x"), py::arg("grad"), py::arg("dfactors"), py::arg("dx"),
        py::arg("num_threads"));
  m.def("rmatvec_vjp", &matvec_vjp<true>, py::arg("factors"), py::arg("x"), py::arg("grad"), py::arg("dfactors"), py::arg("dx"),
        py::arg("num_threads"));
  py::class_<Plan>(m, "Plan")
      .def(py::init<const py::list&, bool>(), py::arg("factors"), py::arg("transpose"))
      .def("apply", &Plan::apply, py::arg("x"), py::arg("out"), py::arg("num_threads"));
}

}  // namespace quatrefoil::kron::product
