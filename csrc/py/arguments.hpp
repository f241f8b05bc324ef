// The arguments of a kernel call from Python, in order: input arrays, output arrays, options. Each array is checked when it is taken.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/host/shape_checker.hpp"
#include "py/caster.hpp"
#include "py/gil.hpp"
#if defined(QF_DEVICE)
#include "py/device.hpp"
#endif

namespace quatrefoil {

// Calls kernel(args) without the GIL; on a device, first measures how much temporary memory the kernel needs, and allocates it.
template <class Kernel, class Args>
auto released(Kernel&& kernel, const Args& args) {
#if defined(QF_DEVICE)
  const std::size_t bytes = measured(kernel, args);
  const CallBlock block(bytes);
#endif
  const GilReleased released;
  return kernel(args);
}

class Arguments : public ShapeChecker {
 public:
  Arguments(const char* function, py::tuple args, std::size_t arrays) : ShapeChecker(function), args_(std::move(args)), count_(arrays) {
    views_.reserve(arrays);
  }

  // Take the next argument: a C-contiguous input, an input with any strides, or an output. ShapeChecker explains `if`, `like` and
  // `optional`.
  CheckedArray input(const char* name, const char* dims) { return array(next<Input>(name), name, dims); }
  CheckedArray input_if(bool requested, const char* name, const char* dims) { return array_if(requested, next<Input>(name), name, dims); }
  CheckedArray input_like(const char* name, const char* other) { return like(next<Input>(name), name, other); }
  CheckedArray optional_input(const char* name, const char* dims) { return optional(next<Input>(name), name, dims); }
  CheckedArray strided(const char* name, const char* dims) { return array(next<Strided>(name), name, dims); }
  CheckedArray strided_like(const char* name, const char* other) { return like(next<Strided>(name), name, other); }
  CheckedArray optional_strided(const char* name, const char* dims) { return optional(next<Strided>(name), name, dims); }
  CheckedArray output(const char* name, const char* dims) { return array(next<Output>(name), name, dims); }
  CheckedArray output_if(bool requested, const char* name, const char* dims) { return array_if(requested, next<Output>(name), name, dims); }
  CheckedArray output_like(const char* name, const char* other) { return like(next<Output>(name), name, other); }
  CheckedArray gradient_of(const char* name) { return gradient(next<Output>(name), name); }
  void no_output(const char* name) { static_cast<void>(output_if(false, name, "")); }
  // A list of arrays, numbered from 1, and the list of their gradients.
  std::vector<CheckedArray> inputs(const char* name, const char* dims) {
    return list<Input>(name, [&](const View& view, int number) { return array(view, name, dims, number); });
  }
  std::vector<CheckedArray> gradients_of(const char* name) {
    const std::size_t expected = count(name);
    return list<Output>(name, [&](const View& view, int number) { return gradient(view, name, number); }, &expected);
  }

  // Skips the next argument without checking it.
  void skip() { take(); }

  // Casts an argument to a memo class of this extension. Callers keep memos between calls.
  template <class M>
  const M& memo(const char* name, py::handle value) const {
    if (!py::isinstance<M>(value))
      reject_type(name + std::string(" is ") + Py_TYPE(value.ptr())->tp_name + ", expected the memo of this operation");
    return value.cast<const M&>();
  }

  // The view of an argument before it is taken.
  View peek(std::size_t index) const {
    const py::handle array = index < count_ ? py::handle(args_[index]) : py::none();
    return array.is_none() ? View{} : named([&] { return strided_view(array, "the array"); });
  }

  // Calls f(T()) with the real element type T of an array, by default the first.
  template <class F>
  void dispatch(F&& f) const {
    dispatch(peek(0), f);
  }
  template <class F>
  void dispatch(const View& first, F&& f) const {
    precision(first) == Dtype::f32 ? f(float()) : f(double());
  }

  void all_taken() const {
    if (taken_ < count_) reject_type("expected " + std::to_string(count_ - taken_) + " fewer arguments");
  }
  // Runs a kernel after all arrays have been taken.
  template <class Kernel, class Args>
  auto run(Kernel&& kernel, const Args& args) const {
    all_taken();
    return released(kernel, args);
  }

 private:
  // Calls f() and prefixes its errors with the function's name.
  template <class F>
  auto named(F&& f) const -> decltype(f()) {
    try {
      return f();
    } catch (const ValueError& e) {
      reject(e.what());
    } catch (const TypeError& e) {
      reject_type(e.what());
    }
  }
  py::handle take() {
    if (taken_ == count_) reject_type("expected more arguments");
    return args_[taken_++];
  }
  template <class A>
  const View& next(const char* name) {
    const py::handle array = take();
    views_.push_back(named([&] { return A(array, name); }));
    return views_.back();
  }
  template <class A, class F>
  std::vector<CheckedArray> list(const char* name, F&& check, const std::size_t* expected = nullptr) {
    const py::handle sequence = take();
    if (!py::isinstance<py::list>(sequence) && !py::isinstance<py::tuple>(sequence))
      reject_type(name + std::string(": expected a list or tuple of arrays"));
    if (expected && py::len(sequence) != *expected) reject(name + std::string(": expected one gradient per array"));
    lists_.emplace_back();
    std::vector<OwnedView>& views = lists_.back();
    views.reserve(py::len(sequence));
    std::vector<CheckedArray> arrays;
    for (py::handle item : sequence) {
      views.push_back(named([&] { return A(item, name); }));
      arrays.push_back(check(views.back(), int(views.size())));
    }
    return arrays;
  }

  py::tuple args_;
  std::size_t count_, taken_ = 0;
  std::vector<OwnedView> views_;
  std::vector<std::vector<OwnedView>> lists_;
};

namespace arguments {
template <class Option>
std::decay_t<Option> option(const std::string& function, py::handle value) {
  try {
    return value.cast<std::decay_t<Option>>();
  } catch (const py::cast_error&) {
    throw TypeError(function + ": option " + std::string(py::repr(value)) + " has the wrong type");
  }
}
template <class... Options, std::size_t... at>
void call(void (*f32)(Arguments&, Options...), void (*f64)(Arguments&, Options...), const std::string& function, const py::args& args,
          std::index_sequence<at...>) {
  if (args.size() < sizeof...(Options)) throw TypeError(function + ": expected more arguments");
  const std::size_t arrays = args.size() - sizeof...(Options);
#if defined(QF_DEVICE)
  const CallDevice device(function, args, arrays);
#endif
  Arguments arguments(function.c_str(), args, arrays);
  const bool single = !f64 || arguments.precision(arguments.peek(0)) == Dtype::f32;
  (single ? f32 : f64)(arguments, option<Options>(function, args[arrays + at])...);
}
}  // namespace arguments

// Binds m.name(*arrays, *options) to f(arguments, options...). Errors name family.name. With two instances of f, the precision of the first
// array chooses between float32 and float64.
template <class... Options>
void define(py::module_& m, const char* name, void (*f32)(Arguments&, Options...), void (*f64)(Arguments&, Options...) = nullptr) {
  const std::string module = py::str(m.attr("__name__")), function = module.substr(module.rfind('.') + 1) + "." + name;
  m.def(name,
        [function, f32, f64](const py::args& args) { arguments::call(f32, f64, function, args, std::index_sequence_for<Options...>{}); });
}

}  // namespace quatrefoil
