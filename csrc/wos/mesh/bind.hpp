// A mesh with the trees that calls have asked for: what a Python boundary keeps between calls.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/host/fit.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "py/kept.hpp"
#include "wos/mesh/args.hpp"

QF_TABLE(wos, mesh)

namespace quatrefoil::wos::mesh {

template <class T>
struct OwnedTree : Tree<T> {
  OwnedTree() = default;
  OwnedTree(const OwnedTree&) = delete;
  OwnedTree& operator=(const OwnedTree&) = delete;
  ~OwnedTree() { kernels<T>().free_tree(*this); }
};

constexpr std::int64_t kMaxTriangles = 1LL << 27;  // places in the tree are 32-bit numbers

// The triangles of a mesh in scaled coordinates, with the trees that were asked for. Any thread may use it.
class Mesh {
 public:
  // corners (M, 9) of float64: shape and type are the caller's to check.
  Mesh(const Fit& fit, const View& corners) : corners_(corners.as<double>(), corners.as<double>() + corners.size()) {
    fit.require(count() >= 1 && count() < kMaxTriangles, "expected between 1 and 2^27 triangles");
    for (double x : corners_) fit.require(x >= -2 && x <= 2, "corners must be scaled");
  }
  std::int64_t count() const { return std::int64_t(corners_.size()) / 9; }

  // Built by the first call that asks. Without the GIL.
  template <class T>
  std::shared_ptr<OwnedTree<T>> tree(int threads) {
    {
      std::lock_guard<std::mutex> lock(kept_mutex());
      if (kept<T>()) return kept<T>();
    }
    auto made = std::make_shared<OwnedTree<T>>();
    kernels<T>().build_tree({corners_.data(), count()}, *made, threads);
    std::lock_guard<std::mutex> lock(kept_mutex());
    if (!kept<T>()) kept<T>() = made;
    return kept<T>();
  }

 private:
  template <class T>
  std::shared_ptr<OwnedTree<T>>& kept() {
    if constexpr (sizeof(T) == 4)
      return f32_;
    else
      return f64_;
  }
  std::vector<double> corners_;
  std::shared_ptr<OwnedTree<float>> f32_;
  std::shared_ptr<OwnedTree<double>> f64_;
};

}  // namespace quatrefoil::wos::mesh
