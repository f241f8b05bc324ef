// A mesh on a GPU: its triangles, with the boxes of polygon/cuda.hpp.
#pragma once
#include "core/cuda/launch.hpp"
#include "wos/mesh/args.hpp"
#include "wos/mesh/formula.hpp"
#include "wos/polygon/cuda.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

constexpr int kRecord = kFields + 1;  // one more field for the index of corner A

template <class T>
__global__ void __launch_bounds__(polygon::kBoxThreads, 1) put_records(const double* corners, const int64_t M, T* records) {
  QF_ROLLED
  for (int64_t k = int64_t(blockIdx.x) * polygon::kBoxThreads + threadIdx.x; k < M; k += int64_t(gridDim.x) * polygon::kBoxThreads) {
    double corner[9], r[kFields];
    for (int j = 0; j < 9; ++j) corner[j] = corners[9 * k + j];
    const int first = triangle_record(corner, r);
    for (int j = 0; j < kFields; ++j) records[kRecord * k + j] = T(r[j]);
    records[kRecord * k + kFields] = T(first);
  }
}

template <class T>
struct Faces {
  static constexpr int D = 3;
  const T* records = nullptr;
  const double* corners = nullptr;

  __device__ T distance2(const T (&x)[3], int64_t k) const {
    const auto field = [&](int j) { return records[kRecord * k + j]; };
    Local<T> at = local<T>(x, field);
    return triangle_distance2<false, T>(at, field);
  }
  __device__ void project(T (&x)[3], int64_t k, T (&where)[2]) const {
    const auto field = [&](int j) { return records[kRecord * k + j]; };
    Local<T> at = local<T>(x, field);
    triangle_distance2<true, T>(at, field);
    T rotated[3], weight[3];
    triangle_weights(at.u, at.v, field(kLength), field(kX), field(kY), rotated);
    const int first = int(field(kFields));
    for (int c = 0; c < 3; ++c) weight[c] = first == c ? rotated[0] : first == (c + 2) % 3 ? rotated[1] : rotated[2];
    const double* const corner = corners + 9 * k;
    for (int j = 0; j < 3; ++j)
      x[j] = T(double(weight[0]) * corner[j] + double(weight[1]) * corner[3 + j] + double(weight[2]) * corner[6 + j]);
    where[0] = weight[1], where[1] = weight[2];
  }
};
template <class T>
using Mesh = polygon::Facets<T, Faces<T>>;

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
