// Lists of the points where walks on stars evaluate data.
#pragma once
#include "wos/media/medium.hpp"
#include "wos/stars/args.hpp"
#include "wos/walk/lists.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

using walk::kEntered;
using walk::kLists;
template <class T, int D>
using List = walk::List<T, D, T>;
template <class T, int D>
using Sink = walk::ListSink<T, D, T>;

// The number of walks that make their steps together, and the largest number of points in a list.
template <class V, class T>
int64_t side_by_side(const Stars<T>& p) {
  return p.medium ? media::walks_together(*p.medium) : kWidth<V>;
}
template <class V, class T>
int64_t list_capacity(const Stars<T>& p) {
  return walk::kCallPoints + 2 * kWidth<V> + side_by_side<V>(p);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
