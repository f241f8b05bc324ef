// The table of the transforms, for nouns whose kernels run them.
#pragma once
#include "cheb/transform/args.hpp"
#include "core/host/isa.hpp"

QF_TABLE(cheb, transform)
