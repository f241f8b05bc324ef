// Receives the points where walks on stars evaluate data.
#pragma once
#include "wos/media/medium.hpp"
#include "wos/stars/args.hpp"
#include "wos/walk/lists.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr int kEntered = kMet;  // list of source points in the first balls of pairs
constexpr int kLists = kMet + 1;

template <class T, int D>
using List = walk::List<T, D, T>;

// Factors of the weights of a walk of a pair: inside its first ball, and after it.
struct Entered {
  double here, after;
};

// The number of walks that make their steps together, and the largest number of points in a list.
template <class V, class T>
int64_t side_by_side(const Stars<T>& p) {
  return p.medium ? media::walks_together(*p.medium) : kWidth<V>;
}
template <class V, class T>
int64_t list_capacity(const Stars<T>& p) {
  return walk::kCallPoints + 2 * kWidth<V> + side_by_side<V>(p);
}

template <class T, int D>
class Sink {
 public:
  virtual double begin(int64_t slot) = 0;                                // called when a walk starts; returns the factor of its weights
  virtual Entered enter(int64_t slot, const walk::First<T, D>& at) = 0;  // receives the first ball of a walk of a pair
  virtual bool wants(int met) const = 0;                                 // whether that kind of data is needed
  // Called when a walk ends. mark: steps and flags; beyond: jumps beyond a medium's bounds.
  virtual void mark(int64_t slot, uint32_t mark, uint32_t beyond) = 0;
  // Evaluates data at a list of `count` points, padded to n. met is kEntered for source points in first balls.
  virtual void take(int met, const List<T, D>& list, int64_t n) = 0;

 protected:
  ~Sink() = default;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
