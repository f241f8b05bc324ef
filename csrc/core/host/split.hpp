// Builds Rows from the views of several operands: broadcasts them, and splits the axes around one of them.
#pragma once
#include "core/abi/rows.hpp"
#include "core/host/view.hpp"

namespace quatrefoil {

// The strides of `v` broadcast to the shape of `full`, aligned at the last axis; v lacks axis `skip` of `full`, or no axis if skip is -1.
inline void broadcast_strides(const View& v, const View& full, int skip, std::int64_t* strides) {
  int j = v.rank - 1;
  for (int i = full.rank - 1; i >= 0; --i) {
    strides[i] = 0;
    if (i == skip || j < 0) continue;
    strides[i] = v.shape[j] == 1 ? 0 : v.stride[j];
    --j;
  }
}

// Splits the axes of `full` at `axis`. Axes after it that all operands traverse with one stride become the inner axis, the others the rows.
template <int operands>
Rows<operands> split_rows(const View& full, int axis, const std::int64_t (&strides)[operands][View::kMaxRank]) {
  Rows<operands> r;
  r.length = full.shape[axis];
  for (int o = 0; o < operands; ++o) r.along[o] = strides[o][axis];
  int first_inner = full.rank;
  for (int i = full.rank - 1; i > axis; --i) {
    bool joins = true;
    for (int o = 0; o < operands && r.inner > 1; ++o) joins = joins && strides[o][i] == r.across[o] * r.inner;
    if (!joins) break;
    if (r.inner == 1)
      for (int o = 0; o < operands; ++o) r.across[o] = strides[o][i];
    r.inner *= full.shape[i];
    first_inner = i;
  }
  for (int i = 0; i < first_inner; ++i) {
    if (i == axis) continue;
    r.shape[r.rank] = full.shape[i];
    for (int o = 0; o < operands; ++o) r.outer[o][r.rank] = strides[o][i];
    r.rows *= full.shape[i];
    ++r.rank;
  }
  return r;
}

}  // namespace quatrefoil
