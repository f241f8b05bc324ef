// Distances to segments or triangles on a GPU. Each box contains 16 consecutive facets, each larger box 16 boxes, and so on; a search
// visits the boxes that may contain the closest facet. Consecutive facets should be neighbours; otherwise a search may test all of them.
#pragma once
#include "core/cuda/launch.hpp"
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

constexpr int kBoxThreads = 128;
constexpr int kFan = 4;  // log2 of the facets per box, and of the boxes per larger box

// Distance and closest facet of a point.
template <class T>
struct Seen {
  T radius;           // the distance, or a lower bound on it
  int64_t primitive;  // closest facet; -1 if radius is a bound
};

// Box i of level l >= 1 contains facets [i 16^l, (i + 1) 16^l). Levels are stored consecutively.
QF_HD constexpr int64_t boxes_of_level(int64_t facets, int level) {
  return (facets + (int64_t(1) << (kFan * level)) - 1) >> (kFan * level);
}
QF_HD constexpr int levels_of(int64_t facets) {
  int level = 1;
  while (boxes_of_level(facets, level) > 1) ++level;
  return level;
}
QF_HD constexpr int64_t boxes_before(int64_t facets, int level) {
  int64_t count = 0;
  for (int l = 1; l < level; ++l) count += boxes_of_level(facets, l);
  return count;
}

// Computes the lower and upper corners of a level's boxes, one thread per box, from the D corners of each facet or from the level below.
// Boxes are slightly enlarged to allow for rounding of the facets.
template <class T, int D>
__global__ void __launch_bounds__(kBoxThreads, 1) put_boxes(const double* ends, const int64_t facets, const int level, T* boxes) {
  constexpr double slack = sizeof(T) == 4 ? 0x1p-22 : 0x1p-50;
  const int64_t below = level > 1 ? boxes_of_level(facets, level - 1) : facets, count = boxes_of_level(facets, level);
  const T* const from = boxes + 2 * D * boxes_before(facets, level - 1);
  T* const to = boxes + 2 * D * boxes_before(facets, level);
  QF_ROLLED
  for (int64_t i = int64_t(blockIdx.x) * kBoxThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kBoxThreads) {
    double low[D], high[D];
    for (int j = 0; j < D; ++j) low[j] = 1e30, high[j] = -1e30;
    for (int64_t k = i << kFan; k < min((i + 1) << kFan, below); ++k)
      for (int j = 0; j < D; ++j) {
        if (level > 1) low[j] = min(low[j], double(from[2 * D * k + j])), high[j] = max(high[j], double(from[2 * D * k + D + j]));
        for (int c = 0; level == 1 && c < D; ++c)
          low[j] = min(low[j], ends[D * (D * k + c) + j] - slack), high[j] = max(high[j], ends[D * (D * k + c) + j] + slack);
      }
    for (int j = 0; j < D; ++j) to[2 * D * i + j] = T(low[j]), to[2 * D * i + D + j] = T(high[j]);
  }
}
template <class T, int D>
void put_all_boxes(const double* ends, int64_t facets, T* boxes) {
  for (int level = 1; level <= levels_of(facets); ++level)
    launch(put_boxes<T, D>, (boxes_of_level(facets, level) + kBoxThreads - 1) / kBoxThreads, kBoxThreads, 0, ends, facets, level, boxes);
}
template <int D>
int64_t box_numbers(int64_t facets) {
  return 2 * D * boxes_before(facets, levels_of(facets) + 1);
}

// Facets [begin, end) out of `count`. Shape provides D and the squared distance of one facet.
template <class T, class Shape>
class Facets {
 public:
  static constexpr int D = Shape::D;
  static constexpr bool outside = false;

  Facets() = default;
  __device__ Facets(const Shape& shape, const T* boxes, int64_t count, int64_t begin, int64_t end)
      : shape_(shape), boxes_(boxes), count_(count), begin_(begin), end_(end), top_(levels_of(end - begin)) {}

  __device__ bool sound() const { return begin_ < end_; }
  // `near`: a facet that may be close, or -1. Ties go to the lowest index. Reads boxes and a few groups of 16 facets.
  __device__ Seen<T> look(const T (&x)[D], int64_t near, bool) const {
    int64_t closest = -1, from = near < 0 ? begin_ : near, to = from + 1;  // facets to test next
    T best{};
    int level = top_;
    int64_t before = boxes_before(count_, level);  // boxes on lower levels
    int64_t at = begin_ >> (kFan * level) << (kFan * level);
    while (from < to) {
      QF_ROLLED
      for (int64_t k = from; k < to; ++k) {
        const T d2 = shape_.distance2(x, k);
        const bool closer = closest < 0 || d2 < best || (d2 == best && k < closest);
        closest = closer ? k : closest;
        best = closer ? d2 : best;
      }
      for (to = from; at < end_ && from == to;) {  // find the next lowest box that may contain a closer facet
        const int64_t next = at + (int64_t(1) << (kFan * level));
        if (next > begin_ && !(box_distance2(x, before + (at >> (kFan * level))) > best)) {
          if (level > 1) {
            before -= boxes_of_level(count_, --level);
            continue;
          }
          from = max(at, begin_), to = min(next, end_);
        }
        at = next;
        for (; level < top_ && (at >> (kFan * level)) % (1 << kFan) == 0; ++level) before += boxes_of_level(count_, level);
      }
    }
    return {square_root(best), closest};
  }
  // Moves x to the closest point of a facet, and writes the weights of its corners after the first.
  __device__ void project(T (&x)[D], int64_t& primitive, T (&where)[D - 1]) const {
    shape_.project(x, primitive, where);
    primitive -= begin_;
  }
  __device__ bool escaped(const T (&x)[D]) const {
    const T half_side = T(0.5 * (1 + 0x1p-6));  // half the side of the grid on the host
    bool out = false;
    for (int j = 0; j < D; ++j) out = out || !(x[j] > -half_side && x[j] < half_side);
    return out;
  }

 private:
  __device__ T box_distance2(const T (&x)[D], int64_t i) const {
    const T* const box = boxes_ + 2 * D * i;
    T sum{};
    for (int j = 0; j < D; ++j) {
      const T out = higher(higher(T(box[j] - x[j]), T(x[j] - box[D + j])), T(0));
      sum += out * out;
    }
    return sum;
  }
  Shape shape_;
  const T* boxes_ = nullptr;
  int64_t count_ = 0, begin_ = 0, end_ = 0;
  int top_ = 1;  // a level at which at most two boxes contain all facets
};

template <class T>
struct alignas(16) Record {
  T ax, ay, ex, ey, inverse_length2, unused[3];
};
template <class T>
__global__ void __launch_bounds__(kBoxThreads, 1) put_records(const double* ends, const int64_t M, Record<T>* records) {
  QF_ROLLED
  for (int64_t k = int64_t(blockIdx.x) * kBoxThreads + threadIdx.x; k < M; k += int64_t(gridDim.x) * kBoxThreads) {
    const double* const s = ends + 4 * k;
    const double ex = s[2] - s[0], ey = s[3] - s[1];
    records[k] = {T(s[0]), T(s[1]), T(ex), T(ey), T(1 / (ex * ex + ey * ey)), {}};
  }
}

template <class T>
struct Sides {
  static constexpr int D = 2;
  const Record<T>* records = nullptr;

  __device__ T distance2(const T (&x)[2], int64_t k) const {
    T t;
    return distance2(x, records[k], t);
  }
  __device__ void project(T (&x)[2], int64_t k, T (&where)[1]) const {
    const Record<T> r = records[k];
    distance2(x, r, where[0]);
    x[0] = r.ax + where[0] * r.ex;
    x[1] = r.ay + where[0] * r.ey;
  }

 private:
  __device__ static T distance2(const T (&x)[2], const Record<T>& r, T& t) {
    return segment_distance2(x[0], x[1], r.ax, r.ay, r.ex, r.ey, r.inverse_length2, t);
  }
};
template <class T>
using Polygon = Facets<T, Sides<T>>;

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
