// A complex number without std::complex, whose templates would be shared between instruction sets. Interleaved, as NumPy and torch keep it.
#pragma once
#include "core/hd.hpp"

namespace quatrefoil {

template <class T>
struct cplx {
  T re, im;
};

inline namespace QF_ISA {

template <class T>
QF_HD cplx<T> operator+(cplx<T> a, cplx<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
QF_HD cplx<T> operator*(cplx<T> a, cplx<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
QF_HD cplx<T> conjugate(cplx<T> a) {
  return {a.re, -a.im};
}
template <class T>
QF_HD T conjugate(T a) {
  return a;
}

}  // namespace QF_ISA
}  // namespace quatrefoil
