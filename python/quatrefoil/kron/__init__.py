"""Kronecker-structured linear algebra and its covariance functions, a folder a noun. Equation numbers are those of csrc/kron/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._spec import Family
from . import mixture, product
from .mixture import gsmp_kernel, gsmp_kernel_vjp, matern52, matern52_vjp, rbf, rbf_vjp, spectral_mixture, spectral_mixture_vjp
from .product import matvec, matvec_vjp

__all__ = [
    "KroneckerOperator",
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
]

OPS = Family(__name__, product.OPS, mixture.OPS)


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
