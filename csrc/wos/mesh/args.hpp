// Triangle meshes in scaled coordinates, and their trees of boxes.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/abi/table.hpp"

namespace quatrefoil::wos::mesh {

constexpr int kBlock = 16;   // triangles per block, and children per node
constexpr int kFields = 17;  // fields of a triangle's record: formula.hpp
constexpr int kLevels = 7;   // up to 16^7 blocks

struct Triangles {
  const double* corners;  // (M, 3, 3)
  std::int64_t M;
};

// Blocks of triangles under nodes with 16 children (README, The tree). Child c of node i is node 16 i + c of the level below. Level 0 is
// the blocks; level `levels` is a single node. Owned by the binding, filled by build_tree, freed by free_tree.
template <class T>
struct Tree {
  T* records = nullptr;             // (blocks, kFields, 16)
  double* corners = nullptr;        // (blocks, 9, 16): the same triangles in double precision
  std::int32_t* ids = nullptr;      // (blocks, 16): triangle indices in increasing order; a partial block repeats the last one
  std::int8_t* rotation = nullptr;  // (blocks, 16): which corner is A
  T* boxes = nullptr;               // (nodes, 6, 16): the lower and upper corners of a node's children
  double* moments = nullptr;        // (nodes, 17, 16): moments of a node's children, if the mesh has gaps: winding.hpp
  std::int64_t M = 0;
  std::int64_t count[kLevels + 1] = {};  // nodes per level
  std::int64_t first[kLevels + 1] = {};  // index of each level's first node
  int levels = 0;
};

// Distance bounds for walks (README, The grid). A cell is filled when a walk first reaches it. Its contents depend on the mesh alone, not
// on the walk. Owned by the binding, allocated by make_grid, freed by free_grid.
template <class T>
struct Grid {
  using Int = typename std::conditional<sizeof(T) == 4, std::int32_t, std::int64_t>::type;
  const Tree<T>* tree = nullptr;
  Int* cells = nullptr;  // (2^level)^3: 0 if empty, a bound and its node's size, or the sign bit and the index of a list
  // memory for lists, allocated on demand. A list is its length, then pairs (block, distance from the cell's centre)
  Int** chunks = nullptr;
  std::int64_t chunk_count = 0, used = 0;
  int level = 0;
};

template <class T>
struct Kernels {
  void (*build_tree)(const Triangles&, Tree<T>&, int threads);
  void (*free_tree)(Tree<T>&);
  // Writes the moments to `to`, so that the caller can move them into a shared tree under its lock.
  void (*build_moments)(const Tree<T>&, int threads, Tree<T>& to);
  void (*make_grid)(const Tree<T>&, int level, Grid<T>&);
  void (*free_grid)(Grid<T>&);
  // The distance that a walk uses at each point, or a lower bound if primitive is -1.
  void (*bounds)(Grid<T>&, const T* points, std::int64_t n, T* radius, std::int64_t* primitive);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::mesh
