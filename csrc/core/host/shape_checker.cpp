#include "core/host/shape_checker.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace quatrefoil {
namespace {

std::string text(const std::int64_t* sizes, int count) {
  std::string list;
  for (int i = 0; i < count; ++i) list += (i ? ", " : "") + std::to_string(sizes[i]);
  return "(" + list + (count == 1 ? ",)" : ")");
}

}  // namespace

std::string number_text(double x) {
  char text[32];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, x);
    if (std::strtod(text, nullptr) == x) break;
  }
  return text;
}

// One word of dims.
struct ShapeChecker::Word {
  Letter letter;
  std::int64_t factor;  // the 2 of "2P"; 0 if absent
  bool run;

  // Reads the word at `dims` and moves past it; false at the end.
  bool read(const char*& dims, int number) {
    while (*dims == ' ') ++dims;
    if (!*dims) return false;
    factor = 0;
    for (; *dims >= '0' && *dims <= '9'; ++dims) factor = 10 * factor + (*dims - '0');
    letter = {dims, 0, 0};
    while (*dims && *dims != ' ') ++dims;
    letter.length = int(dims - letter.text);
    run = letter.length > 2 && dims[-1] == '.' && dims[-2] == '.';
    if (letter.length > 1 && dims[-1] == '_') --letter.length, letter.number = number;
    return true;
  }
  std::string name() const {
    return std::string(letter.text, std::size_t(letter.length)) + (letter.number ? "_" + std::to_string(letter.number) : "");
  }
};

std::string ShapeChecker::Known::text() const {
  return std::string(prefix) + name + (number ? "[" + std::to_string(number - 1) + "]" : "");
}

const ShapeChecker::Size* ShapeChecker::find(const Letter& letter) const {
  for (const Size& s : sizes_)
    if (s.letter.number == letter.number && s.letter.length == letter.length &&
        !std::memcmp(s.letter.text, letter.text, std::size_t(letter.length)))
      return &s;
  return nullptr;
}

const ShapeChecker::Known& ShapeChecker::find(const char* name, int number) const {
  for (const Known& known : arrays_)
    if (known.number == number && !*known.prefix && !std::strcmp(known.name, name)) return known;
  throw std::logic_error(std::string(function_) + ": " + name + " has not been read yet");
}

// Whether the shape agrees with the dims; binds new letters and runs.
bool ShapeChecker::matches(const View& view, const char* dims, int number) {
  int others = 0;  // axes outside an unbound run
  Word word;
  for (const char* at = dims; word.read(at, number);) {
    const Size* const known = word.run ? find(word.letter) : nullptr;
    others += !word.run ? 1 : known ? known->count : 0;
  }
  if (view.rank < others) return false;
  const std::int64_t* size = view.shape;
  int free = view.rank - others;
  while (word.read(dims, number)) {
    const Size* const known = word.letter.length ? find(word.letter) : nullptr;
    if (word.run && known) {
      if (!std::equal(size, size + known->count, known->axes)) return false;
      size += known->count;
    } else if (word.run) {
      sizes_.push_back({word.letter, true, 0, size, free});
      size += free;
      free = 0;
    } else if (known || word.factor) {  // 2P does not bind P
      if (*size++ != (word.letter.length == 0 ? 1 : known ? known->value : -1) * (word.factor ? word.factor : 1)) return false;
    } else {
      sizes_.push_back({word.letter, false, *size++, nullptr, 0});
    }
  }
  return free == 0;
}

ShapeChecker::CheckedArray ShapeChecker::fitted(const Known& known, bool required) {
  const View& view = *known.view;
  arrays_.push_back(known);
  if (view.present) {
    const std::size_t before = sizes_.size();
    if (!matches(view, known.dims, known.number)) {
      sizes_.resize(before);
      reject_shape(known);
    }
  } else if (required) {
    reject_type(known.text() + " is None, expected an array");
  }
  return {this, &view};
}

ShapeChecker::CheckedArray ShapeChecker::array(const View& view, const char* name, const char* dims, int number) {
  return fitted({&view, "", name, number, dims}, true);
}
ShapeChecker::CheckedArray ShapeChecker::optional(const View& view, const char* name, const char* dims) {
  return fitted({&view, "", name, 0, dims}, false);
}

ShapeChecker::CheckedArray ShapeChecker::array_if(bool requested, const View& view, const char* name, const char* dims) {
  if (!requested && view.present) reject(std::string(name) + " is an array, expected None: this result was not requested");
  return fitted({&view, "", name, 0, dims}, requested);
}

ShapeChecker::CheckedArray ShapeChecker::like(const View& view, const char* name, const char* other) {
  const Known& model = find(other, 0);
  return array_if(model.view->present, view, name, model.dims);
}
ShapeChecker::CheckedArray ShapeChecker::gradient(const View& view, const char* name, int number) {
  const Known& model = find(name, number);
  const bool requested = model.view->present;
  const Known known{&view, "d", name, number, model.dims};
  if (!requested && view.present) reject(known.text() + " is an array, expected None, because " + name + " is None");
  return fitted(known, requested);
}

void ShapeChecker::size(const char* letter, std::int64_t value, int number) {
  if (value < 0) reject(std::string(letter) + " is " + std::to_string(value) + ", expected at least 0");
  sizes_.push_back({{letter, int(std::strlen(letter)) - (number ? 1 : 0), number}, false, value, nullptr, 0});
}

void ShapeChecker::axes(const char* run, const std::int64_t* sizes, int count) {
  runs_.emplace_back(sizes, sizes + count);
  sizes_.push_back({{run, int(std::strlen(run)), 0}, true, 0, runs_.back().data(), count});
}

std::int64_t ShapeChecker::operator[](const char* letter) const {
  const Size* const size = find(Letter{letter, int(std::strlen(letter)), 0});
  if (!size || size->run) throw std::logic_error(std::string(function_) + ": " + letter + " is not a known size");
  return size->value;
}

std::int64_t ShapeChecker::product(const char* letter) const {
  std::int64_t product = 1;
  bool fits = true;
  const auto times = [&](std::int64_t n) { fits = !__builtin_mul_overflow(product, n, &product) && fits; };
  const int length = int(std::strlen(letter));
  if (letter[length - 1] == '_') {
    for (const Size& s : sizes_)
      if (s.letter.number && s.letter.length == length - 1 && !std::memcmp(s.letter.text, letter, std::size_t(length - 1))) times(s.value);
  } else {
    const Size* const run = find(Letter{letter, length, 0});
    if (!run || !run->run) throw std::logic_error(std::string(function_) + ": " + letter + " is not a known size");
    for (int i = 0; i < run->count; ++i) times(run->axes[i]);
  }
  if (!fits) reject("the product of the sizes " + std::string(letter) + " is 2^63 or more");
  return product;
}

std::size_t ShapeChecker::count(const char* name) const {
  return std::size_t(
      std::count_if(arrays_.begin(), arrays_.end(), [&](const Known& a) { return !*a.prefix && !std::strcmp(a.name, name); }));
}

Dtype ShapeChecker::precision(const View& view) const {
  const Dtype real = real_of(view.dtype);
  if (!view.present) reject_type("the first argument is None, expected an array");
  if (real != Dtype::f32 && real != Dtype::f64)
    reject_type("the first argument has dtype " + std::string(dtype_name(view.dtype)) +
                ", expected float32, float64, complex64 or complex128");
  return real;
}

int ShapeChecker::choice(const char* option, const std::string& value, std::initializer_list<const char*> names) const {
  int at = 0;
  std::string known;
  for (const char* name : names) {
    if (value == name) return at;
    known += (at++ ? ", '" : "'") + std::string(name) + "'";
  }
  reject(std::string(option) + " is '" + value + "', expected one of " + known);
}

void ShapeChecker::reject_entry(const char* name, std::int64_t at, double value, const std::string& expected) const {
  const View& view = *find(name, 0).view;
  std::string index;
  for (int axis = view.rank - 1; axis >= 0; at /= view.shape[axis--])
    index = std::to_string(at % view.shape[axis]) + (index.empty() ? "" : ", ") + index;
  reject(name + (view.rank ? "[" + index + "]" : "") + " is " + number_text(value) + ", expected " + expected);
}

void ShapeChecker::expect(const View& view, Dtype dtype) const {
  if (view.dtype == dtype) return;
  std::string name;
  for (const Known& known : arrays_)
    if (known.view == &view) name = known.text();
  reject_type(name + " has dtype " + dtype_name(view.dtype) + ", expected " + dtype_name(dtype));
}

void ShapeChecker::reject_shape(const Known& argument) const {
  std::string expected, known;
  int count = 0;
  Word word;
  for (const char* at = argument.dims; word.read(at, argument.number); ++count) {
    expected += (count ? ", " : "") + (word.factor ? std::to_string(word.factor) : "") + word.name();
    const Size* const size = word.letter.length ? find(word.letter) : nullptr;
    if (size)
      known += (known.empty() ? " with " : ", ") + word.name() + " = " +
               (size->run ? text(size->axes, size->count) : std::to_string(size->value));
  }
  reject(argument.text() + " has shape " + text(argument.view->shape, argument.view->rank) + ", expected (" + expected +
         (count == 1 ? ",)" : ")") + known);
}

}  // namespace quatrefoil
