"""mamba-ssm's fused function for the inner part of a Mamba block, composed of the kernels of ssm.selective."""

from __future__ import annotations

from typing import Any

from ... import _arguments, _arrays
from ..._typing import AnyArray, Array, Backend, T
from ..selective.causal_conv1d import causal_conv1d_fn
from ..selective.selective_scan import selective_scan_fn
from .checks import check_kind

_NAME = "ssm.mamba_inner_fn"


def mamba_inner_fn(
    xz: Array[T],
    conv1d_weight: Array[T],
    conv1d_bias: Array[T] | None,
    x_proj_weight: Array[T],
    delta_proj_weight: Array[T],
    out_proj_weight: Array[T],
    out_proj_bias: Array[T] | None,
    A: AnyArray,
    B: AnyArray | None = None,
    C: AnyArray | None = None,
    D: AnyArray | None = None,
    delta_bias: AnyArray | None = None,
    B_proj_bias: Array[T] | None = None,
    C_proj_bias: Array[T] | None = None,
    delta_softplus: bool = True,
    *,
    b_rms_weight: AnyArray | None = None,
    c_rms_weight: AnyArray | None = None,
    dt_rms_weight: AnyArray | None = None,
    b_c_dt_rms_eps: float = 1e-6,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """A Mamba block after its first projection: short convolution, projections to delta, B and C, selective scan, last projection.

    Parameters
    ----------
    xz : (B, 2 D, L)
        The result of the first projection: input x, then gate z.
    conv1d_weight, conv1d_bias : (D, 1, W), (D,)
        The bias may be None.
    x_proj_weight : (R + M + M, D)
        Projects to R values for delta, then to B and C with M values each. M = N, or 2 N with a complex A, as pairs (re, im). If B or C is
        passed as an argument, its rows are omitted.
    delta_proj_weight : (D, R)
    out_proj_weight, out_proj_bias : (E, D), (E,)
        The bias may be None.
    A, D, delta_bias : (D, N), (D,), (D,)
        As in ``selective_scan_fn``.
    B, C : optional
        As in ``selective_scan_fn``; projections of x if absent.
    B_proj_bias, C_proj_bias : (M,), optional
        Added to the projections.
    delta_softplus : bool
    b_rms_weight, c_rms_weight : (N,), optional
        B and C, real and varying in time, are divided by the root mean square of their N states (19) and multiplied by this.
    dt_rms_weight : (D,), optional
        The same for delta over the D channels, after its projection and before delta_bias.
    b_c_dt_rms_eps : float
        Added to the mean squares.
    backend, num_threads
        As in ``help(qf.conventions)``, for the kernels.

    Returns
    -------
    out : (B, L, E)

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes; a norm of a complex or constant B or C; kinds or dtypes that ``causal_conv1d_fn`` and
        ``selective_scan_fn`` do not accept.

    Notes
    -----
    Same signature and meaning as ``mamba_ssm.ops.selective_scan_interface.mamba_inner_fn``, without ``checkpoint_lvl``. A composition,
    differentiable in all arrays with PyTorch. It costs as much as its parts plus two arrays (B, D, L) for x and delta. The loops of
    FalconMamba in transformers normalise delta before its projection, mamba-ssm after it.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> xz, weight, one = np.ones((1, 2, 3)), np.ones((1, 1, 2)), np.ones((1, 1))
    >>> out = qf.ssm.mamba_inner_fn(xz, weight, None, np.ones((3, 1)), one, one, None, -one, D=np.ones(1))
    >>> out.shape  # of one channel with one state
    (1, 3, 1)
    """
    _check(xz, conv1d_weight, x_proj_weight, delta_proj_weight, out_proj_weight, A, B, C)
    run: dict[str, Any] = {"backend": backend, "num_threads": num_threads}
    both: Any = xz
    taps: Any = conv1d_weight
    channels, rank, states = conv1d_weight.shape[0], delta_proj_weight.shape[1], A.shape[1]
    pairs = 2 if _arrays.is_complex(A) else 1
    vectors = {
        "out_proj_bias": (out_proj_bias, "E", out_proj_weight.shape[0]), "B_proj_bias": (B_proj_bias, "M", pairs * states),
        "C_proj_bias": (C_proj_bias, "M", pairs * states), "b_rms_weight": (b_rms_weight, "N", states),
        "c_rms_weight": (c_rms_weight, "N", states), "dt_rms_weight": (dt_rms_weight, "D", channels),
    }  # fmt: skip
    for name, (array, letter, size) in vectors.items():
        _check_vector(name, array, letter, size, xz)
    eps = _arguments.number(b_c_dt_rms_eps, _NAME, "b_c_dt_rms_eps")
    x: Any = causal_conv1d_fn(both[:, :channels], taps[:, 0], conv1d_bias, activation="silu", **run)
    mixed: Any = x_proj_weight @ x  # (B, R + M + M, L)
    delta: Any = delta_proj_weight @ mixed[:, :rank]

    def projected(first: int, bias: Any) -> Any:
        rows = mixed[:, first : first + pairs * states]
        rows = rows if bias is None else rows + bias[:, None]
        if pairs == 1:
            return rows
        return rows.reshape((-1, states, 2, rows.shape[2])).swapaxes(2, 3).reshape((-1, states, 2 * rows.shape[2]))

    B_each = projected(rank, B_proj_bias) if B is None else B
    C_each = projected(mixed.shape[1] - pairs * states, C_proj_bias) if C is None else C
    B_each, C_each = _normed("b_rms_weight", B_each, b_rms_weight, A, eps), _normed("c_rms_weight", C_each, c_rms_weight, A, eps)
    delta = _normed("dt_rms_weight", delta, dt_rms_weight, delta, eps)
    y: Any = selective_scan_fn(x, delta, A, B_each, C_each, D, both[:, channels:], delta_bias, bool(delta_softplus), **run)
    out: T = y.swapaxes(1, 2) @ out_proj_weight.swapaxes(0, 1)  # type: ignore[attr-defined]
    return out if out_proj_bias is None else out + out_proj_bias  # type: ignore[operator]


def _normed(name: str, x: Any, weight: Any, A: Any, eps: float) -> Any:
    """(19): x (..., rows, L) divided by its root mean square over rows, times ``weight`` (rows,); x unchanged without a weight."""
    if weight is None:
        return x
    if _arrays.is_complex(A) or _arrays.is_complex(x):
        raise ValueError(f"{_NAME}: {name} requires real A, B and C; omit it for complex states")
    if x.ndim < 3:
        raise ValueError(f"{_NAME}: {name} requires a {name[0].upper()} that varies in time; omit it for a constant one")
    wide = _arrays.widen(x)
    square = (wide * wide).sum(-2)[..., None, :] / max(x.shape[-2], 1)
    return _arrays.narrow(wide / (square + eps) ** 0.5 * _arrays.widen(weight)[:, None], x)


def _check_vector(name: str, array: Any, letter: str, size: int, xz: Any) -> None:
    """Check an array that no kernel receives: None, or (size,) like xz; half precision and float32 may be mixed."""
    if array is None:
        return
    check_kind(_NAME, name, array, "xz", xz)
    if _arrays.wide(_arrays.dtype_name(array)) != _arrays.wide(_arrays.dtype_name(xz)):
        raise TypeError(f"{_NAME}: {name} has dtype {_arrays.dtype_name(array)} but xz has {_arrays.dtype_name(xz)}; convert one of them")
    if tuple(array.shape) != (size,):
        raise ValueError(f"{_NAME}: {name} has shape {tuple(array.shape)}, expected ({letter},) = ({size},)")


def _check(xz: Any, conv1d_weight: Any, x_proj_weight: Any, delta_proj_weight: Any, out_proj_weight: Any, A: Any, B: Any, C: Any) -> None:
    arrays = {
        "xz": xz, "conv1d_weight": conv1d_weight, "x_proj_weight": x_proj_weight, "delta_proj_weight": delta_proj_weight,
        "out_proj_weight": out_proj_weight, "A": A,
    }  # fmt: skip
    for name, array in arrays.items():
        check_kind(_NAME, name, array, "xz", xz)
        dtype = _arrays.dtype_name(array)
        if name not in ("xz", "A") and dtype != _arrays.dtype_name(xz):
            raise TypeError(f"{_NAME}: {name} has dtype {dtype} but xz has {_arrays.dtype_name(xz)}; convert one of them")
    if xz.ndim != 3 or xz.shape[1] % 2:
        raise ValueError(f"{_NAME}: xz has shape {tuple(xz.shape)}, expected (B, 2 D, L)")
    channels = xz.shape[1] // 2
    if A.ndim != 2 or A.shape[0] != channels:
        raise ValueError(f"{_NAME}: A has shape {tuple(A.shape)}, expected (D, N) with D = {channels}, half the channels of xz")
    rank = delta_proj_weight.shape[1] if delta_proj_weight.ndim == 2 else "R"
    states = A.shape[1] * (2 if _arrays.is_complex(A) else 1)
    rows = rank + states * ((B is None) + (C is None)) if isinstance(rank, int) else "R + M + M"
    expected: dict[str, tuple[Any, ...]] = {
        "conv1d_weight": (channels, 1, "W"), "delta_proj_weight": (channels, rank), "x_proj_weight": (rows, channels),
        "out_proj_weight": ("E", channels),
    }  # fmt: skip
    for name, shape in expected.items():
        actual = tuple(arrays[name].shape)
        if len(actual) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, actual)):
            sizes = f"xz has {channels} channels for x, and A has {A.shape[1]} states"
            raise ValueError(f"{_NAME}: {name} has shape {actual}, expected ({', '.join(map(str, shape))}), because {sizes}")
