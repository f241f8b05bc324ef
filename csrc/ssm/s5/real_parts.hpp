// Complex matrices as two real ones, so that a complex product is a real one of twice the depth or width.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/lanes/lanes.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/interrupt.hpp"

namespace quatrefoil::ssm::s5 {
inline namespace QF_ISA {

constexpr double kSplitNs = 2;  // a number, from memory: estimated

// m (rows x cols, complex, `stride` apart) as two real matrices of the transposed shape, `to_stride` apart; one of its rows is W numbers
// of a register after a transposition.
template <class T>
void split_transposed(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im,
                      int64_t to_stride) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, half = W / 2;
  int64_t r = 0;
  for (; r + W <= rows; r += W) {
    check_interrupt(double(W * cols) * kSplitNs);
    int64_t c = 0;
    for (; c + half <= cols; c += half) {
      V square[W];
      for (int i = 0; i < W; ++i) square[i] = load<V>(reinterpret_cast<const T*>(m + (r + i) * stride + c));
      transpose(square);
      for (int i = 0; i < half; ++i) {
        store(re + (c + i) * to_stride + r, square[2 * i] * re_factor);
        store(im + (c + i) * to_stride + r, square[2 * i + 1] * im_factor);
      }
    }
    for (; c < cols; ++c)
      for (int i = 0; i < W; ++i) {
        re[c * to_stride + r + i] = re_factor * m[(r + i) * stride + c].re;
        im[c * to_stride + r + i] = im_factor * m[(r + i) * stride + c].im;
      }
  }
  InterruptCheck check;
  for (int64_t c = 0; c < cols; ++c, check(double(rows - r) * kSplitNs))
    for (int64_t i = r; i < rows; ++i) {
      re[c * to_stride + i] = re_factor * m[i * stride + c].re;
      im[c * to_stride + i] = im_factor * m[i * stride + c].im;
    }
}

// The same without the transposition.
template <class T>
void split_parts(int64_t rows, int64_t cols, const cplx<T>* m, int64_t stride, T re_factor, T im_factor, T* re, T* im, int64_t to_stride) {
  InterruptCheck check;
  for (int64_t r = 0; r < rows; ++r, check(double(cols) * kSplitNs))
    for (int64_t c = 0; c < cols; ++c) {
      re[r * to_stride + c] = re_factor * m[r * stride + c].re;
      im[r * to_stride + c] = im_factor * m[r * stride + c].im;
    }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s5
