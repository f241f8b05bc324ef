// Which instruction sets were built, which this machine runs, which one is in use.
#pragma once
#include <string>
#include <vector>

namespace quatrefoil {

enum class Isa { base, v2, v3, v4 };  // v2, v3, v4: the x86-64 micro-architecture levels; base: any other processor

Isa isa();
const char* name(Isa);
std::vector<Isa> isas_here();         // best first
void choose_isa(const std::string&);  // "" takes the best; throws ValueError where the choice cannot be met

}  // namespace quatrefoil

// QF_TABLE(ssm): declares the function tables that csrc/ssm/cpu.cpp defines, one per instruction set, and ssm::table(), the one in use.
#if defined(__x86_64__)
#define QF_TABLE(family)                                                                                                \
  namespace quatrefoil::family {                                                                                        \
  namespace v2 { extern const Table kernels; }                                                                          \
  namespace v3 { extern const Table kernels; }                                                                          \
  namespace v4 { extern const Table kernels; }                                                                          \
  inline const Table& table() { return isa() == Isa::v4 ? v4::kernels : isa() == Isa::v3 ? v3::kernels : v2::kernels; } \
  }
#else
#define QF_TABLE(family)                                \
  namespace quatrefoil::family {                        \
  namespace base { extern const Table kernels; }        \
  inline const Table& table() { return base::kernels; } \
  }
#endif
