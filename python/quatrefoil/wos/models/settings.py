"""How walks are run: ``Walks``, chosen by callers, and ``Settings``, which are checked and include the seed and the backend."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from ... import _arrays, _backends
from ..._arguments import choice, drawn_seed, integer, number, threads
from ..._typing import Backend
from ..walk import MAX_STEPS, MAX_WALKS, check_pairs

_EPSILON, _EPSILON_OF_TOLERANCES = 1e-3, 1e-5  # float32 walks cannot resolve less than 1e-5
HINTS = {
    **dict.fromkeys(("seed", "random_state", "key", "generator"), "use rng"),
    **dict.fromkeys(("n_walks", "num_walks", "samples", "n_samples", "nwalks"), "use walks"),
    **dict.fromkeys(("g", "boundary_value", "boundary_values", "bc"), "use dirichlet"),
    **dict.fromkeys(("domain", "geometry", "polygon", "mesh"), "use boundary"),
    **dict.fromkeys(("absorption", "sigma", "kappa"), "use screening, the σ of -Δu + σu = f"),
    **dict.fromkeys(("alpha", "conductivity"), "use diffusion"),
    **dict.fromkeys(("grad", "gradients", "return_grad"), "use gradient=True"),
    **dict.fromkeys(("threads", "n_threads", "n_jobs", "workers"), "use num_threads"),
    **dict.fromkeys(("f", "rhs"), "use source"),
    **dict.fromkeys(("qmc", "quasi", "sobol", "sampler"), "use sampling='sobol'"),
    **dict.fromkeys(("return_std", "return_stderr"), "omit it: the result has stderr"),
    **dict.fromkeys(("eps", "tol", "tolerance"), "use atol or rtol for the standard error, epsilon for the shell at the boundary"),
}


@dataclass(frozen=True)
class Walks:
    """The number of walks from each point, and how they run.

    Pass a ``Walks`` as ``walks`` to ``Problem.solve``, ``Problem.vjp`` and ``Problem.labels``, or just a number of walks to use the
    defaults below. ``qf.wos.solve`` has the same parameters as keywords.

    Parameters
    ----------
    walks : int
        Walks per point.
    epsilon : float
        A walk ends when it is this close to the boundary, at the closest boundary point. With ``relative``, in units of the bounding box's
        diagonal. The default is 1e-3, and 1e-5 with ``rtol`` or ``atol``, because the tolerance bounds the standard error, which does not
        include the bias of epsilon.
    relative : bool
        Whether epsilon is relative.
    max_steps : int
        A walk of this many steps ends at the closest boundary point and counts in ``n_truncated``. At most 2^20 - 1.
    gradient : bool
        Also compute ∇u (13), from pairs of walks that leave in opposite directions. ``walks`` and ``walk_offset`` must be even.
    shared_walks : bool
        Use one set of walks for B sets of data on one boundary at points (N, d), which saves most of the time. Each set has the same values
        as without sharing, but errors are correlated between sets. The sets must share reflecting walls, μ, diffusion and screening.
    walk_offset : int
        Index of the first walk. Runs over [0, m) and [m, n) merge to the same bits as one run over [0, n).
    sampling : "random" or "sobol"
        "sobol" takes the first steps of each point's walks (four in the plane, two in space) from a randomly shifted Sobol' sequence (30).
        Values remain unbiased. For data without jumps, their variance is smaller by a factor of 1.4 to 1.8 for 10 walks and 1.6 to 2.5 for
        64. ``stderr`` is that of independent walks, so its square is too large by this factor. Best for numbers of walks that are powers
        of two. Not available with neumann, robin, diffusion, a varying screening, cache, or in more than three dimensions.

    Notes
    -----
    Immutable. ``dataclasses.replace(fine, walks=4096)`` is ``fine`` with a different number of walks. Values are checked by the call that
    uses them.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> fine = qf.wos.Walks(1024, epsilon=1e-5, gradient=True)
    >>> fine
    Walks(walks=1024, epsilon=1e-05, relative=True, max_steps=1024, gradient=True, shared_walks=False, walk_offset=0, sampling='random')
    >>> plane = qf.wos.Problem(qf.wos.Ball([0.0, 0.0], 1.0), dirichlet=lambda X: X[:, 0])
    >>> u = plane.solve([0.5, 0.0], fine, rng=0)
    >>> bool((abs(u.grad - [1.0, 0.0]) < 5 * u.grad_stderr).all())
    True
    """

    walks: int = 64
    _: KW_ONLY
    epsilon: float | None = None
    relative: bool = True
    max_steps: int = 1024
    gradient: bool = False
    shared_walks: bool = False
    walk_offset: int = 0
    sampling: Literal["random", "sobol"] = "random"


IN_WALKS = HINTS | {f.name: f"pass it to wos.Walks, as in walks=wos.Walks(64, {f.name}=...)" for f in fields(Walks) if f.name != "walks"}


class Settings(NamedTuple):
    """Checked settings. ``backend`` is None on a device, which selects the best one available."""

    seed: int
    epsilon: float
    relative: bool
    max_steps: int
    gradient: bool
    backend: Backend | None
    num_threads: int | None
    shared_walks: bool = False
    cache: str | None = None
    sampling: str = "random"

    @property
    def sobol(self) -> bool:
        return self.sampling == "sobol"

    @property
    def signed_seed(self) -> int:
        """The seed's 64 bits as a signed integer."""
        return self.seed - (self.seed >> 63 << 64)


def checked(
    label: str, points: Any, walks: Any, rng: Any, backend: Any, num_threads: Any, cache: Any = None, with_tolerance: bool = False
) -> tuple[Settings, range]:
    """Check a caller's arguments. Returns them and the indices of the walks."""
    w = walks if isinstance(walks, Walks) else Walks(walks)
    default = _EPSILON_OF_TOLERANCES if with_tolerance else _EPSILON
    epsilon = default if w.epsilon is None else number(w.epsilon, label, "epsilon", positive=True)
    max_steps = integer(w.max_steps, label, "max_steps", 1, MAX_STEPS)
    for name in ("gradient", "shared_walks"):
        if not isinstance(getattr(w, name), bool):
            raise TypeError(f"{label}: {name} is {getattr(w, name)!r}, expected True or False")
    first, count = integer(w.walk_offset, label, "walk_offset", 0), integer(w.walks, label, "walks", 1)
    check_range(label, first, count)
    check_pairs(label, w.gradient, walks=count, walk_offset=first)
    number_of_threads = None if num_threads is None else threads(num_threads, label)
    kind, sampling = choice(cache, label, "cache", (None, "harmonic")), choice(w.sampling, label, "sampling", ("random", "sobol"))
    seed, where = drawn_seed(rng, label), _resolve(backend, points)
    settings = Settings(seed, epsilon, bool(w.relative), max_steps, w.gradient, where, number_of_threads, w.shared_walks, kind, sampling)
    return settings, range(first, first + count)


def check_range(label: str, first: int, walks: int) -> None:
    """Check that the walks are within the 2^32 for which a point has random words."""
    if first + walks > MAX_WALKS:
        raise ValueError(f"{label}: walks up to {first + walks} were requested, expected at most {MAX_WALKS} per point")


def _resolve(backend: Backend | None, points: Any) -> Backend | None:
    """The backend of the walks, which is also used to resume them. None on a device, which selects the best one available."""
    name = backend or _backends.chosen()
    on_host = points.__class__ is np.ndarray or _arrays.kind(points) is None or _arrays.on_host(points)
    name = name or (_backends.default() if on_host else None)
    if name is not None:
        _backends.check_name(name, "solve")
    if on_host and name == "cuda":
        where = "points is on the host, but backend 'cuda' runs only on a GPU"
        raise TypeError(f"solve: {where}; move the arrays to a GPU, or omit the choice of a backend")
    if not on_host and name in ("native", "numba"):
        where = f"points is on {_arrays.device(points)}, but backend {name!r} runs only on the host"
        raise TypeError(f"solve: {where}; omit the choice of a backend, or move the arrays to the host")
    return name
