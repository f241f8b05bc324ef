"""Kronecker-structured linear algebra and covariance functions. Notation: csrc/kron/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._public import missing, public_dir, readable
from .._spec import Family
from . import gp, mixture, pde, product, twoterm
from .gp import gp_nll, gp_solve
from .gp import gp_nll_vjp as gp_nll_vjp
from .gp import gp_solve_vjp as gp_solve_vjp
from .gp.posterior import gp_posterior
from .gp.sample import gp_posterior_sample, gp_sample
from .mixture import gsmp_kernel, matern12, matern32, matern52, periodic, rational_quadratic, rbf, spectral_mixture
from .mixture import gsmp_kernel_vjp as gsmp_kernel_vjp
from .mixture import matern12_vjp as matern12_vjp
from .mixture import matern32_vjp as matern32_vjp
from .mixture import matern52_vjp as matern52_vjp
from .mixture import periodic_vjp as periodic_vjp
from .mixture import rational_quadratic_vjp as rational_quadratic_vjp
from .mixture import rbf_vjp as rbf_vjp
from .mixture import spectral_mixture_vjp as spectral_mixture_vjp
from .models.gphm import GPHM
from .models.gridgp import GridGP
from .models.operator_batch import KroneckerBatch as KroneckerBatch
from .models.slimkl import SlimKL
from .pde import PDE as PDE
from .pde import Advection as Advection
from .pde import AllenCahn as AllenCahn
from .pde import ConvectionDiffusion as ConvectionDiffusion
from .pde import Heat as Heat
from .pde import Helmholtz as Helmholtz
from .pde import Poisson as Poisson
from .pde import Semilinear as Semilinear
from .product import matvec
from .product import matvec_vjp as matvec_vjp
from .twoterm import sum_logdet, sum_solve, sylvester_solve
from .twoterm import sum_logdet_vjp as sum_logdet_vjp
from .twoterm import sum_solve_vjp as sum_solve_vjp
from .twoterm import sylvester_solve_vjp as sylvester_solve_vjp

__all__ = [
    "GPHM",
    "GridGP",
    "KroneckerOperator",
    "SlimKL",
    "gp_nll",
    "gp_posterior",
    "gp_posterior_sample",
    "gp_sample",
    "gp_solve",
    "gsmp_kernel",
    "matern12",
    "matern32",
    "matern52",
    "matvec",
    "pde",
    "periodic",
    "rational_quadratic",
    "rbf",
    "spectral_mixture",
    "sum_logdet",
    "sum_solve",
    "sylvester_solve",
]

OPS = Family(__name__, product.OPS, gp.OPS, mixture.OPS, twoterm.OPS)


if TYPE_CHECKING:
    from .models.operator import KroneckerOperator
    from .models.operator_sum import KroneckerSum as KroneckerSum
else:  # hidden from type checkers, which would otherwise accept any name

    def __getattr__(name: str) -> Any:
        if name in ("KroneckerOperator", "KroneckerSum"):  # subclasses of SciPy's LinearOperator: SciPy is imported on first use
            from .models import operator, operator_products

            globals()[name] = readable(operator_products.on_scipy(getattr(operator, name)))
            return globals()[name]
        return missing(__name__)(name)


__dir__ = public_dir(__name__)
