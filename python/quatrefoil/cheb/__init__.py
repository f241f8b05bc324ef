"""Chebyshev-Tucker tensors, a folder a noun. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

from .._spec import Family
from . import layer, nonuniform, orthopoly, particles, scattered, transform
from .layer import poly_layer, poly_layer_vjp
from .nonuniform import cheb_eval, cheb_eval_vjp, cheb_moments, cheb_moments_vjp
from .orthopoly import optimal_samples
from .particles import Potential, SumOfGaussians, coulomb_sog, potential, short_range, short_range_vjp
from .scattered import tucker_derivatives, tucker_derivatives_vjp, tucker_eval, tucker_eval_vjp
from .tensor import ChebTucker
from .transform import chebpts, coeffs2vals, coeffs2vals_vjp, vals2coeffs, vals2coeffs_vjp
from .tucker import TuckerTensor, tucker

__all__ = [
    "ChebTucker",
    "Potential",
    "SumOfGaussians",
    "TuckerTensor",
    "cheb_eval",
    "cheb_eval_vjp",
    "cheb_moments",
    "cheb_moments_vjp",
    "chebpts",
    "coeffs2vals",
    "coeffs2vals_vjp",
    "coulomb_sog",
    "optimal_samples",
    "orthopoly",
    "poly_layer",
    "poly_layer_vjp",
    "potential",
    "short_range",
    "short_range_vjp",
    "tucker",
    "tucker_derivatives",
    "tucker_derivatives_vjp",
    "tucker_eval",
    "tucker_eval_vjp",
    "vals2coeffs",
    "vals2coeffs_vjp",
]

OPS = Family(__name__, transform.OPS, scattered.OPS, nonuniform.OPS, layer.OPS, particles.OPS)


def __dir__() -> list[str]:
    return __all__
