// Whether the arrays of a call fit each other: shapes by letters, types by the pointers that their numbers go to. The Python validator has
// said it better; this is for memory safety, and so it is complete. Its errors are made in one place (fit.cpp).
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "core/host/check.hpp"
#include "core/host/view.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil {

// The arrays of one call. Dims are written as in the docstrings: "... L H". A letter is bound where it is first seen and must agree from
// there on; "2P" is twice P; a number is itself. "..." is a run of axes of any length, and so is every name that ends with "..": bound
// like a letter, one unbound run at most in one shape. "n_" is a letter for each number, as the factors of a list have.
class Fit {
 public:
  explicit Fit(const char* function) : function_(function) {  // "ssm.fft_conv"
    sizes_.reserve(16);
    arrays_.reserve(24);
  }

  // An argument whose shape fits, on its way into a pointer, whose type says of which numbers the argument must be.
  class [[nodiscard]] Fitted {
   public:
    template <class E>
    operator E*() const {
      if (view_->present) fit_->expect(*view_, dtype_of<E>());
      return static_cast<E*>(view_->data);
    }
    const View& view() const { return *view_; }

   private:
    friend class Fit;
    Fitted(const Fit* fit, const View* view) : fit_(fit), view_(view) {}
    const Fit* fit_;
    const View* view_;
  };

  // An argument that must be there; one that may be absent, which gives a null pointer; one that must be there if `asked`, else absent.
  // The views live as long as this object.
  Fitted array(const View& view, const char* name, const char* dims, int number = 0);
  Fitted optional(const View& view, const char* name, const char* dims);
  Fitted array_if(bool asked, const View& view, const char* name, const char* dims);
  // An argument of the shape of one that was fitted before, absent where that is; the gradient of one, named d and its name.
  Fitted like(const View& view, const char* name, const char* of);
  Fitted gradient(const View& view, const char* of, int number = 0);

  // Sizes that no array gives: an option, which must not be negative, or that of a numbered letter; the axes of a run.
  void size(const char* letter, std::int64_t value, int number = 0);
  void axes(const char* run, const std::int64_t* sizes, int count);
  // What has been found. `product` is that of a run, or of a numbered letter.
  std::int64_t operator[](const char* letter) const;
  std::int64_t product(const char* letter) const;

  std::size_t count(const char* name) const;  // of arrays of that name

  // The real type of an argument's numbers, float32 or float64.
  Dtype precision(const View& view) const;
  // Where among the names an option is.
  int choice(const char* option, const std::string& given, std::initializer_list<const char*> names) const;
  void require(bool holds, const char* what) const {
    if (!holds) refuse(what);
  }
  [[noreturn]] void refuse(const std::string& what) const { throw ValueError(std::string(function_) + ": " + what); }
  [[noreturn]] void refuse_type(const std::string& what) const { throw TypeError(std::string(function_) + ": " + what); }

 private:
  struct Letter {
    const char* text;
    int length, number;
  };
  struct Size {
    Letter letter;
    bool run;            // of axes
    std::int64_t value;  // where it is none
    const std::int64_t* axes;
    int count;
  };
  struct Known {  // an argument seen
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
  Fitted fitted(const Known& known, bool required);
  void expect(const View& view, Dtype dtype) const;
  [[noreturn]] void refuse_shape(const Known& known) const;

  const char* function_;
  std::vector<Size> sizes_;
  std::vector<Known> arrays_;
  std::vector<std::vector<std::int64_t>> runs_;  // of `axes`
};

}  // namespace quatrefoil
