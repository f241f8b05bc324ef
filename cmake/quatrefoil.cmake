# Writes isas.hpp: QF_EACH_ISA(X), which is X(v4) X(v3) for the list v4;v3.
function(quatrefoil_write_isas path)
  list(TRANSFORM ARGN REPLACE "(.+)" "X(\\1)")
  list(JOIN ARGN " " each)
  file(CONFIGURE OUTPUT ${path} CONTENT "#define QF_EACH_ISA(X) ${each}\n")
endfunction()

# QUATREFOIL_ISAS: "native" (the best instruction set that this processor supports), "all", or a list such as "v4;v3".
set(QUATREFOIL_ISAS native CACHE STRING "instruction sets to build, best first: native, all, or a list")
string(REPLACE " " ";" QUATREFOIL_ISAS "${QUATREFOIL_ISAS}")
set(every_isa v4 v3 v2)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(every_isa base)
endif()
if(QUATREFOIL_ISAS STREQUAL native AND NOT every_isa STREQUAL base AND NOT CMAKE_CROSSCOMPILING)
  quatrefoil_write_isas(probe/isas.hpp ${every_isa})
  unset(runs_probe CACHE)
  try_run(runs_probe compiles_probe ${CMAKE_CURRENT_BINARY_DIR}/probe ${CMAKE_CURRENT_SOURCE_DIR}/cmake/best_isa.cpp
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_CURRENT_SOURCE_DIR}/csrc;${CMAKE_CURRENT_BINARY_DIR}/probe"
    COMPILE_OUTPUT_VARIABLE compiler_output RUN_OUTPUT_VARIABLE QUATREFOIL_ISAS)
  if(NOT compiles_probe OR NOT runs_probe EQUAL 0)
    message(FATAL_ERROR "cmake/best_isa.cpp did not compile and run: ${compiler_output}")
  endif()
elseif(QUATREFOIL_ISAS MATCHES "^(native|all)$")
  set(QUATREFOIL_ISAS ${every_isa})
endif()
foreach(isa IN LISTS QUATREFOIL_ISAS)
  if(NOT isa IN_LIST every_isa)
    message(FATAL_ERROR "QUATREFOIL_ISAS has ${isa}; expected native, all, or some of ${every_isa}")
  endif()
endforeach()
message(STATUS "instruction sets: ${QUATREFOIL_ISAS}")
quatrefoil_write_isas(isas.hpp ${QUATREFOIL_ISAS})
include_directories(${CMAKE_CURRENT_BINARY_DIR})

# Strict IEEE results, except for contraction to FMA. Never use -ffast-math, which enables flush-to-zero for the whole process.
set(QUATREFOIL_KERNEL_FLAGS -fno-math-errno -fno-trapping-math -fopenmp-simd -ffp-contract=fast)

# With these flags, GCC compiles these kernels up to 40 % faster, and `quatrefoil bench` takes as long as before: -O2, or -O3 with the
# inlining limits of -O2. Other kernels ran slower with them, or compile too fast to gain much.
set(QUATREFOIL_FLAGS_ssm_convolution -O2)
foreach(kernels ssm_scan ssm_s5 ssm_ssd kron_mixture cheb_transform)
  set(QUATREFOIL_FLAGS_${kernels} --param=max-inline-insns-auto=15 --param=max-inline-insns-single=70)
endforeach()

# quatrefoil_family(name method...): compiles csrc/<name>/<method>/cpu.cpp once per instruction set, each in a namespace of its own, and
# bind.cpp once, and adds them to _core. A method may use the methods before it; one without a cpu.cpp is skipped. With QUATREFOIL_CUDA it
# also compiles cuda.cu, if it exists, and bind.cpp a second time, for _cuda.
function(quatrefoil_family name)
  foreach(method IN LISTS ARGN)
    set(folder csrc/${name}/${method})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/cpu.cpp)
      continue()
    endif()
    foreach(isa IN LISTS QUATREFOIL_ISAS)
      set(target ${name}_${method}_cpu_${isa})
      add_library(${target} OBJECT ${folder}/cpu.cpp)
      target_compile_definitions(${target} PRIVATE QF_ISA=${isa})
      target_compile_options(${target} PRIVATE ${QUATREFOIL_KERNEL_FLAGS})
      if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_BUILD_TYPE STREQUAL Release AND NOT QUATREFOIL_SANITIZE)
        target_compile_options(${target} PRIVATE ${QUATREFOIL_FLAGS_${name}_${method}})
      endif()
      if(NOT isa STREQUAL base)
        target_compile_options(${target} PRIVATE -march=x86-64-${isa})
      endif()
      if(isa STREQUAL v4)
        target_compile_options(${target} PRIVATE -mprefer-vector-width=512)
      endif()
      target_sources(_core PRIVATE $<TARGET_OBJECTS:${target}>)
    endforeach()
    target_sources(_core PRIVATE ${folder}/bind.cpp)
    set_property(GLOBAL APPEND_STRING PROPERTY quatrefoil_methods " X(${name}, ${method})")
    if(QUATREFOIL_CUDA AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/cuda.cu)
      target_sources(_cuda PRIVATE ${folder}/cuda.cu ${folder}/bind.cpp)
      set_property(GLOBAL APPEND_STRING PROPERTY quatrefoil_device_methods " X(${name}, ${method})")
    endif()
  endforeach()
endfunction()

# Writes the lists of methods that csrc/py/module.cpp and csrc/py/device_module.cpp bind. To be called after the last family.
function(quatrefoil_methods)
  get_property(methods GLOBAL PROPERTY quatrefoil_methods)
  file(CONFIGURE OUTPUT methods.hpp CONTENT "#define QF_EACH_METHOD(X)${methods}\n")
  get_property(methods GLOBAL PROPERTY quatrefoil_device_methods)
  file(CONFIGURE OUTPUT device_methods.hpp CONTENT "#define QF_EACH_METHOD(X)${methods}\n")
endfunction()

# Adds the target _cuda, with machine code for common GPUs and PTX of compute capability 10.0 for later ones. The CUDA runtime is linked
# into it, but no array library. It has the bindings of _core, with QF_DEVICE. A macro, because functions must not call enable_language.
macro(quatrefoil_cuda)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90-real 100 120-real CACHE STRING "GPUs to build for")
  find_program(QUATREFOIL_NVCC NAMES $ENV{CUDACXX} nvcc)
  get_filename_component(toolkit "${QUATREFOIL_NVCC}/../.." ABSOLUTE)
  if(EXISTS ${toolkit}/lib/libcudart_static.a AND NOT EXISTS ${toolkit}/lib64)  # pip's toolkit; nvcc looks for its runtime in lib64
    set(ENV{NVCC_APPEND_FLAGS} "$ENV{NVCC_APPEND_FLAGS} -L${toolkit}/lib")
    link_directories(${toolkit}/lib)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "QUATREFOIL_CUDA is on, but nvcc was not found; set CUDACXX to its path")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    message(FATAL_ERROR "QUATREFOIL_CUDA requires nvcc 12.8 or newer; this is ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  pybind11_add_module(_cuda MODULE NO_EXTRAS csrc/py/device_module.cpp csrc/py/device_caster.cpp csrc/py/device_memory.cpp
    csrc/py/dlpack.cpp csrc/core/host/shape_checker.cpp csrc/core/cuda/device.cu)
  string(REPLACE ";" " " archs "${CMAKE_CUDA_ARCHITECTURES}")
  get_target_property(host_options _cuda COMPILE_OPTIONS)  # the project's options, which nvcc does not accept
  set_target_properties(_cuda PROPERTIES CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static
    COMPILE_OPTIONS "")
  # -Os: bindings and launches are a fifth of the module and take a fraction of a launch's time. nvcc's own -O affects only the host.
  set(CMAKE_CUDA_FLAGS_RELEASE -DNDEBUG)
  target_compile_options(_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${host_options};-Os;-ffunction-sections>"
    "$<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size;-Xcompiler=-Os,-ffunction-sections>")
  target_link_options(_cuda PRIVATE -Wl,--gc-sections)
  target_compile_definitions(_cuda PRIVATE QF_DEVICE QF_MODULE=_cuda QF_ARCHS="${archs}" "$<$<COMPILE_LANGUAGE:CUDA>:QF_ISA=cuda>")
endmacro()
