// CUDA declarations, from the toolkit or from the emulator in tests/emu, which runs the same kernels on the host.
#pragma once
#if defined(QF_EMULATOR)
#include "emulator.hpp"
#else
#include <cuda_runtime.h>
#endif
