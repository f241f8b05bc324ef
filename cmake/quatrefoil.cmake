# quatrefoil_family(name noun...): compiles csrc/<name>/<noun>/cpu.cpp once per instruction set, each in a namespace of its own, and bind.cpp
# once, and adds all of it to _core. The order of the nouns is the permitted dependency between them; one of headers alone is legal.
# With QUATREFOIL_CUDA it compiles cuda.cu, where there is one, and bind.cpp once more, for _cuda.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(QUATREFOIL_ISAS v4 v3 v2 CACHE STRING "instruction sets to build, best first")
else()
  set(QUATREFOIL_ISAS base)
endif()
string(REPLACE " " ";" QUATREFOIL_ISAS "${QUATREFOIL_ISAS}")
list(TRANSFORM QUATREFOIL_ISAS REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE each)
list(JOIN each " " each)
file(CONFIGURE OUTPUT isas.hpp CONTENT "#define QF_EACH_ISA(X) ${each}\n")
include_directories(${CMAKE_CURRENT_BINARY_DIR})

# Strict IEEE results: contraction to FMA is the only licence taken. Never -ffast-math, which flips flush-to-zero for the whole process.
set(QUATREFOIL_KERNEL_FLAGS -fno-math-errno -fno-trapping-math -fopenmp-simd -ffp-contract=fast)

function(quatrefoil_family name)
  foreach(noun IN LISTS ARGN)
    set(folder csrc/${name}/${noun})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/cpu.cpp)
      continue()
    endif()
    foreach(isa IN LISTS QUATREFOIL_ISAS)
      set(target ${name}_${noun}_cpu_${isa})
      add_library(${target} OBJECT ${folder}/cpu.cpp)
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
    target_sources(_core PRIVATE ${folder}/bind.cpp)
    set_property(GLOBAL APPEND_STRING PROPERTY quatrefoil_nouns " X(${name}, ${noun})")
    if(QUATREFOIL_CUDA AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/cuda.cu)
      target_sources(_cuda PRIVATE ${folder}/cuda.cu ${folder}/bind.cpp)
      set_property(GLOBAL APPEND_STRING PROPERTY quatrefoil_device_nouns " X(${name}, ${noun})")
    endif()
  endforeach()
endfunction()

# What csrc/py/module.cpp and csrc/py/device_module.cpp bind; after the last family.
function(quatrefoil_nouns)
  get_property(nouns GLOBAL PROPERTY quatrefoil_nouns)
  file(CONFIGURE OUTPUT nouns.hpp CONTENT "#define QF_EACH_NOUN(X)${nouns}\n")
  get_property(nouns GLOBAL PROPERTY quatrefoil_device_nouns)
  file(CONFIGURE OUTPUT device_nouns.hpp CONTENT "#define QF_EACH_NOUN(X)${nouns}\n")
endfunction()

# The target _cuda: machine code for sm_80, sm_90 and sm_100, and PTX for later ones; the CUDA runtime is linked into it, no library of
# arrays is. Its bindings are those of _core, with QF_DEVICE. A macro: enable_language is for the whole project.
macro(quatrefoil_cuda)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100 CACHE STRING "GPUs to build for")
  find_program(QUATREFOIL_NVCC NAMES $ENV{CUDACXX} nvcc)
  get_filename_component(toolkit "${QUATREFOIL_NVCC}/../.." ABSOLUTE)
  if(EXISTS ${toolkit}/lib/libcudart_static.a AND NOT EXISTS ${toolkit}/lib64)  # pip's: nvcc looks for its runtime in lib64
    set(ENV{NVCC_APPEND_FLAGS} "$ENV{NVCC_APPEND_FLAGS} -L${toolkit}/lib")
    link_directories(${toolkit}/lib)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "QUATREFOIL_CUDA is on and there is no nvcc; CUDACXX may say where it is")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    message(FATAL_ERROR "QUATREFOIL_CUDA takes nvcc 12.8 or newer, this is ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  pybind11_add_module(_cuda MODULE NO_EXTRAS csrc/py/device_module.cpp csrc/py/device_caster.cpp csrc/py/dlpack.cpp csrc/core/host/fit.cpp
    csrc/core/cuda/device.cu)
  string(REPLACE ";" " " archs "${CMAKE_CUDA_ARCHITECTURES}")
  get_target_property(host_options _cuda COMPILE_OPTIONS)  # the project's, which nvcc does not know
  set_target_properties(_cuda PROPERTIES CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static
    COMPILE_OPTIONS "")
  # -Os: bindings and launches are a fifth of the module, and what they take is a fraction of a launch. nvcc's own -O is for the host alone.
  set(CMAKE_CUDA_FLAGS_RELEASE -DNDEBUG)
  target_compile_options(_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${host_options};-Os;-ffunction-sections>"
    "$<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size;-Xcompiler=-Os,-ffunction-sections>")
  target_link_options(_cuda PRIVATE -Wl,--gc-sections)
  target_compile_definitions(_cuda PRIVATE QF_DEVICE QF_MODULE=_cuda QF_ARCHS="${archs}" "$<$<COMPILE_LANGUAGE:CUDA>:QF_ISA=cuda>")
endmacro()
