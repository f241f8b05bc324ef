// Which instruction sets were built, which this machine runs, which one is in use.
#pragma once
#include <string>
#include <vector>

#include "isas.hpp"  // QF_EACH_ISA(X): X(v4) X(v3) X(v2), or those that were built; written by CMake

namespace quatrefoil {

enum class Isa { base, v2, v3, v4 };  // v2, v3, v4: the x86-64 micro-architecture levels; base: any other processor

Isa isa();
const char* name(Isa);
std::vector<Isa> isas_here();         // best first
void choose_isa(const std::string&);  // "" takes the best; throws ValueError where the choice cannot be met

}  // namespace quatrefoil

// QF_TABLE(ssm, scan): declares the tables that csrc/ssm/scan/cpu.cpp defines, one per instruction set, the one in use, and kernels<T>() of
// it.
#define QF_TABLE_OF(level) \
  namespace level { extern const Table kernels; }
#define QF_TABLE_IN_USE(level) \
  if (isa() == Isa::level) table = &level::kernels;
#define QF_TABLE(family, noun)         \
  namespace quatrefoil::family::noun { \
  QF_EACH_ISA(QF_TABLE_OF)             \
  inline const Table& table() {        \
    const Table* table = nullptr;      \
    QF_EACH_ISA(QF_TABLE_IN_USE)       \
    return *table;                     \
  }                                    \
  template <class T>                   \
  const Kernels<T>& kernels() {        \
    return table().template of<T>();   \
  }                                    \
  }
