// Instruction sets: those that were built, those that this processor supports, and the one in use.
#pragma once
#include <string>
#include <vector>

#if !defined(QF_DEVICE)
#include "isas.hpp"  // QF_EACH_ISA(X): X(v4) X(v3) X(v2), or those that were built; written by CMake
#endif

namespace quatrefoil {

enum class Isa { base, v2, v3, v4 };  // the x86-64 micro-architecture levels; base: any other processor

Isa isa();
const char* name(Isa);
std::vector<Isa> isas_built();        // best first
std::vector<Isa> isas_supported();    // built and supported by this processor
void choose_isa(const std::string&);  // "": the best; throws ValueError if the choice is not available

}  // namespace quatrefoil

// QF_TABLE(ssm, scan) declares the tables that csrc/ssm/scan/cpu.cpp defines, one per instruction set, and kernels<T>(), which returns the
// kernels of the instruction set in use. With QF_DEVICE it declares the table in cuda.cu.
#if defined(QF_DEVICE)
#define QF_TABLE_DECLARED \
  namespace cuda { extern const Table kernels; }
#define QF_TABLE_CHOSEN const Table* table = &cuda::kernels;
#else
#define QF_TABLE_OF(level) \
  namespace level { extern const Table kernels; }
#define QF_TABLE_IN_USE(level) \
  if (isa() == Isa::level) table = &level::kernels;
#define QF_TABLE_DECLARED QF_EACH_ISA(QF_TABLE_OF)
#define QF_TABLE_CHOSEN         \
  const Table* table = nullptr; \
  QF_EACH_ISA(QF_TABLE_IN_USE)
#endif
#define QF_TABLE(family, method)          \
  namespace quatrefoil::family::method {  \
  QF_TABLE_DECLARED                       \
  inline const Table& table() {           \
    QF_TABLE_CHOSEN                       \
    return *table;                        \
  }                                       \
  template <class T>                      \
  const Kernels<T>& kernels() {           \
    return table().template kernels<T>(); \
  }                                       \
  }
