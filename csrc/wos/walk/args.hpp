// Walks and their reduction. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/polygon/args.hpp"

namespace quatrefoil::wos::walk {

template <class T>
struct Walk {
  const polygon::Grid<T>* grids;      // (B,), or null: the unit ball of `dimension`
  const std::int64_t* first_segment;  // (B,): where an instance's pairs of per_vertex begin
  const T* start;                     // (B, N, dimension)
  const std::uint8_t* live;           // (B, N): 0 where no walk starts
  const double* epsilon;              // (B,) scaled
  const double* centre;               // (B, dimension)
  const double* extent;               // (B,)
  double* values;                     // (B, N, walks)
  std::uint32_t* steps;               // (B, N, walks): steps; the sign bit marks a walk cut off at max_steps, the next one an escaped one
  double* ends;                       // (B, N, walks, dimension + 1) absolute end and place on the segment, or null
  std::int64_t* primitives;           // (B, N, walks), or null
  std::int64_t B, N, walks, first_walk, first_instance, max_steps;
  std::uint32_t key0, key1;
  data::Data dirichlet, source;
  int dimension, threads;
};

// values, steps (rows, walks) -> the dyadic nodes of [first_walk, first_walk + walks), and the counts.
struct Reduce {
  const double* values;
  const std::uint32_t* steps;
  const std::uint8_t* live;  // (rows,)
  std::int64_t rows, walks, first_walk, nodes;
  double *mean, *m2;                                // (rows, nodes)
  std::int64_t *total_steps, *truncated, *escaped;  // (rows,): added to
  int threads;
};

template <class T>
struct Kernels {
  void (*walk)(const Walk<T>&);
};
struct Table : TableOf<Kernels> {
  void (*reduce)(const Reduce&);
  void (*philox)(const std::uint32_t* counters, std::int64_t n, std::uint32_t key0, std::uint32_t key1, std::uint32_t* words);  // (n, 4)
};

}  // namespace quatrefoil::wos::walk
