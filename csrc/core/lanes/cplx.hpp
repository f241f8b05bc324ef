// A complex number, interleaved as in NumPy and torch. Templates of std::complex would be shared between instruction sets.
#pragma once
#include "core/lanes/hd.hpp"

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
QF_HD cplx<T> operator-(cplx<T> a, cplx<T> b) {
  return {a.re - b.re, a.im - b.im};
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
template <class T>
QF_HD cplx<T> scaled(cplx<T> a, T by) {
  return {a.re * by, a.im * by};
}
template <class T>
QF_HD T scaled(T a, T by) {
  return a * by;
}
template <class T>
QF_HD T norm(cplx<T> a) {  // |a|^2
  return a.re * a.re + a.im * a.im;
}
template <class T>
QF_HD cplx<T> reciprocal(cplx<T> a) {
  const T s = 1 / norm(a);
  return {a.re * s, -a.im * s};
}
// Re(conj(a) b): the inner product of a gradient and a perturbation.
template <class T>
QF_HD T inner(cplx<T> a, cplx<T> b) {
  return a.re * b.re + a.im * b.im;
}
template <class T>
QF_HD T inner(T a, T b) {
  return a * b;
}

}  // namespace QF_ISA
}  // namespace quatrefoil
