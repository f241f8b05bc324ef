# quatrefoil_family(name): compiles csrc/<name>/cpu.cpp once per instruction set, each in a namespace of its own,
# and csrc/<name>/bind.cpp once, and adds all of it to _core.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(QUATREFOIL_ISAS v2 v3 v4)
else()
  set(QUATREFOIL_ISAS base)
endif()

# Strict IEEE results: contraction to FMA is the only licence taken. Never -ffast-math, which flips flush-to-zero for the whole process.
set(QUATREFOIL_KERNEL_FLAGS -fno-math-errno -fno-trapping-math -fopenmp-simd -ffp-contract=fast)

function(quatrefoil_family name)
  foreach(isa IN LISTS QUATREFOIL_ISAS)
    set(target ${name}_cpu_${isa})
    add_library(${target} OBJECT csrc/${name}/cpu.cpp)
    target_compile_definitions(${target} PRIVATE QF_ISA=${isa})
    target_compile_options(${target} PRIVATE ${QUATREFOIL_KERNEL_FLAGS})
    if(NOT isa STREQUAL base)
      target_compile_options(${target} PRIVATE -march=x86-64-${isa})
    endif()
    if(isa STREQUAL v4)
      target_compile_options(${target} PRIVATE -mprefer-vector-width=512)
    endif()
    target_sources(_core PRIVATE $<TARGET_OBJECTS:${target}>)
  endforeach()
  target_sources(_core PRIVATE csrc/${name}/bind.cpp)
endfunction()
