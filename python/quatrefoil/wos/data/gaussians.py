"""Sums of Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, finite, host_array, is_number, keywords, number, points_like
from ..._typing import ArrayLike
from ..region import Region
from .packed import Array, DataClass, PackedData, Parameters, Target, as_given, common, instances

_PARTS = {"amplitude": 1, "center": 2, "width": 1}  # axes of each parameter for one instance


class Gaussians(DataClass):
    """A sum of Gaussians: sum_j amplitude_j exp(-|x - center_j|^2 / width_j^2).

    Parameters
    ----------
    amplitude : (J,) or (B, J), or a number for J = 1
        Note the order: amplitudes come before centres.
    center : (J, d) or (B, J, d), or (d,) for J = 1
    width : number, (J,) or (B, J)
        Positive.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.wos.Gaussians(1.0, [0, 0], 0.5)  # one source at the origin
    >>> u = qf.wos.solve(qf.wos.Ball((0, 0), 1), np.array([[0.0, 0.0]]), dirichlet=0.0, source=f, walks=1000, rng=0)
    >>> bool(u.value[0] > 0)
    True
    """

    @keywords(
        "Gaussians",
        **dict.fromkeys(("amplitudes", "weights", "a"), "use amplitude"),
        **dict.fromkeys(("centers", "centre", "centres", "means"), "use center"),
        **dict.fromkeys(("widths", "sigma", "scale", "std"), "use width: exp(-|x - center|^2 / width^2)"),
    )
    def __init__(self, amplitude: ArrayLike, center: ArrayLike, width: ArrayLike) -> None:
        self.amplitude: Any = array_like(amplitude, "Gaussians", "amplitude")
        self.center: Any = array_like(center, "Gaussians", "center")
        is_one = is_number(width)
        self.width: Any = number(width, "Gaussians", "width", positive=True) if is_one else array_like(width, "Gaussians", "width")
        if self.amplitude.ndim == 0 and self.center.ndim == 1:  # a single Gaussian
            self.amplitude, self.center = self.amplitude[None], self.center[None]
        a, c, w = self._arrays(device="keep")
        if a.ndim not in (1, 2) or c.ndim not in (2, 3) or c.shape[-2] != a.shape[-1] or (w.ndim and w.shape[-1] != a.shape[-1]):
            raise ValueError(
                f"Gaussians: amplitude {a.shape}, center {c.shape}, width {w.shape}; expected (J,), (J, d) and (J,), or with a leading B"
            )
        for name, array in (("amplitude", a), ("center", c), ("width", w)):
            finite(array, "Gaussians", name)
        if isinstance(w, np.ndarray) and not (w > 0).all():
            raise ValueError("Gaussians: width must be positive")

    def _arrays(self, **how: Any) -> tuple[Any, Any, Any]:
        def read(name: str) -> Any:
            return host_array(getattr(self, name), "Gaussians", name, differentiable=True, **how)

        return read("amplitude"), read("center"), np.asarray(self.width) if is_number(self.width) else read("width")

    def __call__(self, X: Any) -> np.ndarray:
        """Evaluate with NumPy. Returns (n,) for points (n, d) in absolute coordinates; with instances, (B, n) for (n, d) or (B, n, d)."""
        X = points_like(X, "Gaussians", "X")
        a, c, w = self._arrays()
        # Gaussians before points: NumPy's inner loops run over points
        r2 = sum((X[..., None, :, i] - c[..., None, i]) ** 2 for i in range(c.shape[-1]))
        return np.asarray((a[..., None] * np.exp(-r2 / (w**2 if w.ndim == 0 else w[..., None] ** 2))).sum(axis=-2))

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return [(getattr(self, part), axes) for part, axes in _PARTS.items()]

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        if self.center.shape[-1] != boundary.dimension:
            raise ValueError(f"{label}: {name}.center has {self.center.shape[-1]} coordinates, but the boundary has {boundary.dimension}")
        sizes = [
            instances(x, axes, boundary, label, f"{name}.{part}")
            for part, (x, axes) in zip(_PARTS, self._parameters(boundary.dimension))
            if getattr(x, "ndim", 0) > axes
        ]
        return common(sizes, label, name)

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """The amplitude, the scaled centre and extent^2 / width^2 of each Gaussian."""
        b, xp = target.boundary, target.namespace
        d = b.dimension
        a, c, w = (_part(data, part, target, name) for part in _PARTS)
        J = a.shape[-1]
        batch = common([len(x) for x, axes in zip((a, c, w), _PARTS.values()) if x.ndim > axes], "solve", name)
        rows = b._count if batch in (None, 1) else batch
        extent = target.array(b._extent)
        scaled = (xp.broadcast_to(c, (rows, J, d)) - target.array(b._centre)[:, None]) / extent[:, None, None]
        inverse = xp.broadcast_to((extent**2)[:, None] / w**2, (rows, J))
        bells = xp.concatenate([xp.broadcast_to(a, (rows, J))[..., None], scaled, inverse[..., None]], -1)

        def pull(g: np.ndarray) -> Parameters:
            g = g.reshape(rows, J, d + 2)
            of_width = g[..., -1] * -2 * _arrays.to_host(inverse) / _arrays.to_host(w)
            gradients = {"amplitude": g[..., 0], "center": g[..., 1:-1] / b._extent[:, None, None], "width": of_width}
            arrays = {part: getattr(data[0], part) for part in gradients}
            return {part: as_given(gradients[part], like) for part, like in arrays.items() if not isinstance(like, (int, float))}

        return PackedData("gaussians", batch, bells.reshape(rows, J * (d + 2)), pull=pull, linear=slice(None, None, d + 2))


def _part(data: Sequence[Any], part: str, target: Target, name: str) -> Array:
    """A parameter of one sum, or of one sum per instance, padded with Gaussians of amplitude 0."""
    arrays = []
    for g in data:
        x = getattr(g, part)
        arrays.append(target.array(np.asarray(float(x))) if isinstance(x, (int, float)) else target.parameter(x, f"{name}.{part}"))
    if len(data) == 1:
        return arrays[0]
    xp = target.namespace
    width = max(len(g.amplitude) for g in data)
    rows = []
    for g, x in zip(data, arrays):
        if part == "width" and x.ndim == 0:
            x = xp.broadcast_to(x, (len(g.amplitude),))
        fill = xp.ones_like(x[:1]) if part == "width" else xp.zeros_like(x[:1])
        rows.append(xp.concatenate([x, *[fill] * (width - len(x))]))
    return xp.stack(rows)
