// Views an n-d array along one axis as rows x length x inner, for several operands that broadcast against each other.
#pragma once
#include <cstdint>

#include "core/lanes/hd.hpp"

namespace quatrefoil {

template <int operands>
struct Rows {
  static constexpr int kMaxRank = 16;
  int rank = 0;  // number of outer axes
  std::int64_t shape[kMaxRank] = {};
  std::int64_t outer[operands][kMaxRank] = {};  // strides, 0 if an operand is broadcast along the axis
  std::int64_t along[operands] = {};            // stride along the axis
  std::int64_t across[operands] = {};           // stride along the inner axis
  std::int64_t rows = 1, length = 1, inner = 1;

  QF_HD std::int64_t offset(int operand, std::int64_t row) const {
    std::int64_t at = 0;
    QF_ROLLED
    for (int i = rank - 1; i >= 0; --i) {
      at += row % shape[i] * outer[operand][i];
      row /= shape[i];
    }
    return at;
  }
};

// A copy that contains only the operands from[0], from[1], ...
template <int some, int operands>
QF_HD Rows<some> rows_of(const Rows<operands>& r, const int (&from)[some]) {
  Rows<some> to;
  to.rank = r.rank, to.rows = r.rows, to.length = r.length, to.inner = r.inner;
  for (int i = 0; i < r.rank; ++i) to.shape[i] = r.shape[i];
  for (int o = 0; o < some; ++o) {
    to.along[o] = r.along[from[o]], to.across[o] = r.across[from[o]];
    for (int i = 0; i < r.rank; ++i) to.outer[o][i] = r.outer[from[o]][i];
  }
  return to;
}

}  // namespace quatrefoil
