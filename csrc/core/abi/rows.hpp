// An n-d array seen along one axis: outer rows x length x inner, for several operands that broadcast against each other at once.
#pragma once
#include <cstdint>

namespace quatrefoil {

template <int operands>
struct Rows {
  static constexpr int kMaxRank = 16;
  int rank = 0;  // of the outer index space
  std::int64_t shape[kMaxRank] = {};
  std::int64_t outer[operands][kMaxRank] = {};  // strides, 0 where an operand is broadcast
  std::int64_t along[operands] = {};            // stride on the axis
  std::int64_t across[operands] = {};           // stride on the inner axis
  std::int64_t rows = 1, length = 1, inner = 1;

  std::int64_t offset(int operand, std::int64_t row) const {
    std::int64_t at = 0;
    for (int i = rank - 1; i >= 0; --i) {
      at += row % shape[i] * outer[operand][i];
      row /= shape[i];
    }
    return at;
  }
};

}  // namespace quatrefoil
