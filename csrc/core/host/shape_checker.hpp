// Checks that the arrays of a call fit together. Equal letters in dims stand for equal sizes, and the pointer to which an array converts
// determines its dtype. This check alone guarantees memory safety; the Python validator has better error messages.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "core/host/check.hpp"
#include "core/host/view.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil {

// The arrays of one call. Dims are written as in the docstrings: "... L H". The first use of a letter binds it, and later ones must agree.
// "2P" is twice P, and a number stands for itself. "..." and every name that ends with ".." is a run: any number of axes, bound like a
// letter, with at most one unbound run per shape. "n_" is one letter per array of a list.
class ShapeChecker {
 public:
  explicit ShapeChecker(const char* function) : function_(function) {  // "ssm.fft_conv"
    sizes_.reserve(16);
    arrays_.reserve(24);
  }

  // An argument whose shape has been checked. It converts to a pointer, whose type determines the required dtype.
  class [[nodiscard]] CheckedArray {
   public:
    template <class E>
    operator E*() const {
      if (view_->present) checker_->expect(*view_, dtype_of<E>());
      return static_cast<E*>(view_->data);
    }
    const View& view() const { return *view_; }

   private:
    friend class ShapeChecker;
    CheckedArray(const ShapeChecker* checker, const View* view) : checker_(checker), view_(view) {}
    const ShapeChecker* checker_;
    const View* view_;
  };

  // `array`: a required argument. `optional`: a null pointer if it is absent. `array_if`: required if `requested`, absent otherwise. The
  // views must outlive this object.
  CheckedArray array(const View& view, const char* name, const char* dims, int number = 0);
  CheckedArray optional(const View& view, const char* name, const char* dims);
  CheckedArray array_if(bool requested, const View& view, const char* name, const char* dims);
  // `like`: an argument with the shape of an earlier one, absent if that is absent. `gradient`: dx, the gradient of an earlier x.
  CheckedArray like(const View& view, const char* name, const char* other);
  CheckedArray gradient(const View& view, const char* name, int number = 0);

  // Binds sizes that are not taken from an array. `size`: a nonnegative option, or a numbered letter. `axes`: all axes of a run.
  void size(const char* letter, std::int64_t value, int number = 0);
  void axes(const char* run, const std::int64_t* sizes, int count);
  // operator[]: a letter's size. `product`: the product of a run, or of a numbered letter's sizes. `count`: how many arrays have this name.
  std::int64_t operator[](const char* letter) const;
  std::int64_t product(const char* letter) const;
  std::size_t count(const char* name) const;

  // The real dtype of an argument, float32 or float64.
  Dtype precision(const View& view) const;
  // The index of an option's value among the allowed names.
  int choice(const char* option, const std::string& value, std::initializer_list<const char*> names) const;
  void require(bool holds, const char* what) const {
    if (!holds) reject(what);
  }
  [[noreturn]] void reject(const std::string& what) const { throw ValueError(std::string(function_) + ": " + what); }
  [[noreturn]] void reject_type(const std::string& what) const { throw TypeError(std::string(function_) + ": " + what); }
  // Raises an error about the entry with flat index `at`: "X[3, 1] is 1.5, expected ...".
  [[noreturn]] void reject_entry(const char* name, std::int64_t at, double value, const std::string& expected) const;

 private:
  struct Letter {
    const char* text;
    int length, number;
  };
  struct Size {
    Letter letter;
    bool run;
    std::int64_t value;        // the size of a letter
    const std::int64_t* axes;  // the `count` sizes of a run
    int count;
  };
  struct Known {  // an earlier argument
    const View* view;
    const char *prefix, *name;
    int number;
    const char* dims;
    std::string text() const;
  };
  struct Word;

  const Size* find(const Letter& letter) const;
  const Known& find(const char* name, int number) const;
  bool matches(const View& view, const char* dims, int number);
  CheckedArray fitted(const Known& known, bool required);
  void expect(const View& view, Dtype dtype) const;
  [[noreturn]] void reject_shape(const Known& known) const;

  const char* function_;
  std::vector<Size> sizes_;
  std::vector<Known> arrays_;
  std::vector<std::vector<std::int64_t>> runs_;  // copies of the sizes passed to `axes`
};

std::string number_text(double);  // the shortest text that reads back as the same number

}  // namespace quatrefoil
