"""Kronecker-structured linear algebra and its covariance functions, a folder a noun. Equation numbers are those of csrc/kron/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._spec import Family
from . import gp, mixture, product, twoterm
from .gp import gp_nll, gp_nll_vjp, gp_solve, gp_solve_vjp
from .gp.posterior import gp_posterior
from .gp.sample import gp_posterior_sample, gp_sample
from .gphm import GPHM, Advection, AllenCahn, Poisson
from .gridgp import GridGP
from .mixture import gsmp_kernel, gsmp_kernel_vjp, matern52, matern52_vjp, rbf, rbf_vjp, spectral_mixture, spectral_mixture_vjp
from .product import matvec, matvec_vjp
from .slimkl import SlimKL
from .twoterm import sum_logdet, sum_logdet_vjp, sum_solve, sum_solve_vjp, sylvester_solve, sylvester_solve_vjp

__all__ = [
    "GPHM",
    "Advection",
    "AllenCahn",
    "GridGP",
    "KroneckerOperator",
    "Poisson",
    "SlimKL",
    "gp_nll",
    "gp_nll_vjp",
    "gp_posterior",
    "gp_posterior_sample",
    "gp_sample",
    "gp_solve",
    "gp_solve_vjp",
    "gsmp_kernel",
    "gsmp_kernel_vjp",
    "matern52",
    "matern52_vjp",
    "matvec",
    "matvec_vjp",
    "rbf",
    "rbf_vjp",
    "spectral_mixture",
    "spectral_mixture_vjp",
    "sum_logdet",
    "sum_logdet_vjp",
    "sum_solve",
    "sum_solve_vjp",
    "sylvester_solve",
    "sylvester_solve_vjp",
]

OPS = Family(__name__, product.OPS, gp.OPS, mixture.OPS, twoterm.OPS)


if TYPE_CHECKING:
    from .product.operator import KroneckerOperator
else:  # unseen by type checkers, to which any name would then be one of ours

    def __getattr__(name: str) -> Any:
        if name == "KroneckerOperator":  # a SciPy class: SciPy is imported when it is first asked for
            from .product.operator import scipy_class

            globals()[name] = scipy_class()
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
