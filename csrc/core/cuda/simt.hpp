// The words of CUDA: the toolkit's, or those of the emulator in tests/emu, under which the same kernels run on the host.
#pragma once
#if defined(QF_EMULATOR)
#include "emulator.hpp"
#else
#include <cuda_runtime.h>
#endif
