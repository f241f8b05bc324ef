"""Chebyshev-Tucker tensors. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import missing, public_dir
from .._spec import Family
from . import layer, nonuniform, orthopoly, particles, scattered, transform
from .layer import poly_layer, product_layer, trig_layer
from .layer import poly_layer_vjp as poly_layer_vjp
from .layer import product_layer_vjp as product_layer_vjp
from .layer import trig_layer_vjp as trig_layer_vjp
from .models.chaos import PolynomialChaos
from .models.longrange import Potential as Potential
from .models.longrange import potential
from .models.piecewise import PiecewiseTucker
from .models.queries import Extremum as Extremum
from .models.tensor import ChebTucker
from .models.train import TensorTrain as TensorTrain
from .nonuniform import cheb_eval, cheb_moments
from .nonuniform import cheb_eval_vjp as cheb_eval_vjp
from .nonuniform import cheb_moments_vjp as cheb_moments_vjp
from .orthopoly import optimal_samples
from .particles import short_range
from .particles import short_range_vjp as short_range_vjp
from .particles.sog import SumOfGaussians as SumOfGaussians
from .particles.sog import coulomb_sog
from .scattered import tucker_derivatives, tucker_eval
from .scattered import tucker_derivatives_vjp as tucker_derivatives_vjp
from .scattered import tucker_eval_vjp as tucker_eval_vjp
from .transform import chebpts, coeffs2vals, vals2coeffs
from .transform import coeffs2vals_vjp as coeffs2vals_vjp
from .transform import vals2coeffs_vjp as vals2coeffs_vjp
from .tucker import TuckerTensor as TuckerTensor
from .tucker import tucker

__all__ = [
    "ChebTucker",
    "PiecewiseTucker",
    "PolynomialChaos",
    "cheb_eval",
    "cheb_moments",
    "chebpts",
    "coeffs2vals",
    "coulomb_sog",
    "optimal_samples",
    "orthopoly",
    "poly_layer",
    "potential",
    "product_layer",
    "short_range",
    "trig_layer",
    "tucker",
    "tucker_derivatives",
    "tucker_eval",
    "vals2coeffs",
]

OPS = Family(__name__, transform.OPS, scattered.OPS, nonuniform.OPS, layer.OPS, particles.OPS)

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = missing(__name__)
