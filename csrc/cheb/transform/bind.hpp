// The table of the transforms, for other methods whose kernels use them.
#pragma once
#include "cheb/transform/args.hpp"
#include "core/host/isa.hpp"

QF_TABLE(cheb, transform)
