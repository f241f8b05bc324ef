// Triangle meshes in scaled coordinates, and the tree of boxes that answers what is closest.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::wos::mesh {

constexpr int kBlock = 16;   // triangles a block, and children a node
constexpr int kFields = 17;  // numbers that a triangle is known by: formula.hpp
constexpr int kLevels = 7;   // 16^7 blocks

struct Triangles {
  const double* corners;  // (M, 3, 3)
  std::int64_t M;
};

// Blocks of triangles under nodes of 16 children: README, The tree. Child c of node i of a level is number 16 i + c of the level below;
// level 0 are the blocks, level `levels` is one node. Owned by the binding, filled by build_tree, freed by free_tree.
template <class T>
struct Tree {
  T* records = nullptr;         // (blocks, kFields, 16)
  double* corners = nullptr;    // (blocks, 9, 16): the same triangles in double precision
  std::int32_t* ids = nullptr;  // (blocks, 16): their numbers, in order; the last one repeats where there are fewer
  T* boxes = nullptr;           // (nodes, 6, 16): the lower and upper corners of a node's children
  std::int64_t M = 0;
  std::int64_t count[kLevels + 1] = {};  // of the nodes of a level
  std::int64_t first[kLevels + 1] = {};  // where among the nodes a level begins
  int levels = 0;
};

template <class T>
struct Kernels {
  void (*build_tree)(const Triangles&, Tree<T>&, int threads);
  void (*free_tree)(Tree<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::mesh
