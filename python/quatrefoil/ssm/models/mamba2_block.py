"""The inner part of a Mamba-2 block, compatible with mamba-ssm: short convolution, scan, gated norm and projection.

B batch items, length L, H heads of P channels, N states, G groups, W taps. Equation numbers: csrc/ssm/ssd/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from ... import _arguments, _arrays
from ..._call import is_compiling
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from ..selective.causal_conv1d import causal_conv1d_fn, causal_conv1d_fn_vjp
from ..ssd.chunk_scan import NO_LIMIT, limits, mamba_chunk_scan_combined, mamba_chunk_scan_combined_vjp
from .checks import check_kind, put


# fmt: off
@overload
def mamba_split_conv1d_scan_combined(
    zxbcdt: Array[T], conv1d_weight: Array[T], conv1d_bias: Array[T] | None, dt_bias: AnyArray, A: AnyArray, D: AnyArray,
    chunk_size: int, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    dt_limit: tuple[float, float] = NO_LIMIT, return_final_states: Literal[False] = False,
    activation: str | None = "silu", rmsnorm_weight: AnyArray | None = None, rmsnorm_eps: float = 1e-6,
    outproj_weight: AnyArray | None = None, outproj_bias: AnyArray | None = None, headdim: int | None = None, ngroups: int = 1,
    norm_before_gate: bool = True, *, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def mamba_split_conv1d_scan_combined(
    zxbcdt: Array[T], conv1d_weight: Array[T], conv1d_bias: Array[T] | None, dt_bias: AnyArray, A: AnyArray, D: AnyArray,
    chunk_size: int, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    dt_limit: tuple[float, float] = NO_LIMIT, *, return_final_states: Literal[True],
    activation: str | None = "silu", rmsnorm_weight: AnyArray | None = None, rmsnorm_eps: float = 1e-6,
    outproj_weight: AnyArray | None = None, outproj_bias: AnyArray | None = None, headdim: int | None = None, ngroups: int = 1,
    norm_before_gate: bool = True, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def mamba_split_conv1d_scan_combined(
    zxbcdt: Array[T], conv1d_weight: Array[T], conv1d_bias: Array[T] | None, dt_bias: AnyArray, A: AnyArray, D: AnyArray,
    chunk_size: int, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    dt_limit: tuple[float, float] = NO_LIMIT, return_final_states: bool = False,
    activation: str | None = "silu", rmsnorm_weight: AnyArray | None = None, rmsnorm_eps: float = 1e-6,
    outproj_weight: AnyArray | None = None, outproj_bias: AnyArray | None = None, headdim: int | None = None, ngroups: int = 1,
    norm_before_gate: bool = True, *, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, T]: ...
# fmt: on
def mamba_split_conv1d_scan_combined(
    zxbcdt: Array[T],
    conv1d_weight: Array[T],
    conv1d_bias: Array[T] | None,
    dt_bias: AnyArray,
    A: AnyArray,
    D: AnyArray,
    chunk_size: int,
    initial_states: AnyArray | None = None,
    seq_idx: AnyArray | None = None,
    dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_weight: AnyArray | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: AnyArray | None = None,
    outproj_bias: AnyArray | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, T]:
    """A Mamba-2 block after its first projection: convolution, scan, norm and last projection (16)-(19).

    Parameters
    ----------
    zxbcdt : (B, L, 2 M + 2 H P + 2 G N + H)
        The result of the first projection: M pairs for an MLP (M may be 0), gate z, the convolution's input, step sizes.
    conv1d_weight : (H P + 2 G N, W)
    conv1d_bias : (H P + 2 G N,) or None
    dt_bias, A : (H,)
        As in ``mamba_chunk_scan_combined``, with ``dt_softplus=True``.
    D : (H, P), or (H,) with ``headdim``
    chunk_size, initial_states, seq_idx, dt_limit, return_final_states
        As in ``mamba_chunk_scan_combined``. ``seq_idx`` also separates the sequences in the convolution, whose outputs are 0 where it is
        negative.
    activation : "silu", "swish" or None
        Activation after the convolution.
    rmsnorm_weight : (H P,), optional
        If present, each group's H P / G channels are divided by their root mean square and multiplied by this. If absent, there is no
        norm, and the gate is applied last.
    rmsnorm_eps : float
        Added to the mean squares.
    outproj_weight, outproj_bias : (O, M + H P), (O,), optional
        The last projection.
    headdim : int
        P, if D is (H,).
    ngroups : int
        G.
    norm_before_gate : bool
        If True, norm(y) silu(z); otherwise norm(y silu(z)).
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` only if one array is returned.

    Returns
    -------
    out : (B, L, M + H P) or (B, L, O), in the dtype of zxbcdt; with ``return_final_states``, a tuple (out, states (B, H, P, N)).

    Raises
    ------
    ValueError, TypeError
        Inconsistent sizes, D of shape (H,) without ``headdim``, outproj_bias without its weight, and the errors of the functions it calls.

    Notes
    -----
    Same signature and meaning as ``mamba_ssm.ops.triton.ssd_combined.mamba_split_conv1d_scan_combined``. Differentiable in all real
    arrays. The scan dominates the cost; norm and projection are array operations.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> H, P, N = 2, 4, 3
    >>> zxbcdt, weight = np.ones((1, 5, 2 * H * P + 2 * N + H)), np.ones((H * P + 2 * N, 2))
    >>> y = qf.ssm.mamba_split_conv1d_scan_combined(zxbcdt, weight, None, np.zeros(H), -np.ones(H), np.ones((H, P)), 64)
    >>> y.shape
    (1, 5, 8)
    """
    arrays = (
        zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, initial_states, seq_idx, rmsnorm_weight, outproj_weight, outproj_bias
    )  # fmt: skip
    options = _Options(
        chunk_size, dt_limit, return_final_states, activation, rmsnorm_eps, headdim, ngroups, norm_before_gate, backend, num_threads
    )
    block = _Block("mamba_split_conv1d_scan_combined", arrays, options)
    if return_final_states:
        if out is not None:
            raise TypeError(f"{block.label}: out= is only for calls that return one array, but this call returns several")
        return block.forward()
    result: T = put(block.label, out, block.forward()[0], block.inputs)
    return result


def mamba_split_conv1d_scan_combined_vjp(
    *inputs_and_grad: InputOrGrad[T],
    chunk_size: int,
    dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_eps: float = 1e-6,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``mamba_split_conv1d_scan_combined`` (20), (21).

    ``(zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D[, initial_states[, seq_idx[, rmsnorm_weight[, outproj_weight[, outproj_bias]]]]],
    grad)`` -> one gradient for each real input that is present. ``grad`` is the gradient of the result; with ``return_final_states``, a
    tuple (gradient of the result, gradient of the states), the latter (B, H, P, N).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> H, P, N = 2, 4, 3
    >>> zxbcdt, weight = np.ones((1, 5, 2 * H * P + 2 * N + H)), np.ones((H * P + 2 * N, 2))
    >>> inputs = zxbcdt, weight, None, np.zeros(H), -np.ones(H), np.ones((H, P))
    >>> grads = qf.ssm.mamba_split_conv1d_scan_combined_vjp(*inputs, np.ones((1, 5, 8)), chunk_size=64)
    >>> [g.shape for g in grads]
    [(1, 5, 24), (14, 2), (2,), (2,), (2, 4)]
    """
    name = "mamba_split_conv1d_scan_combined_vjp"
    *inputs, grad = inputs_and_grad
    if not 6 <= len(inputs) <= 11:
        raise TypeError(f"ssm.{name}: expected 6 to 11 inputs and then grad, got {len(inputs_and_grad)} arguments")
    arrays: list[Any] = [*inputs, *[None] * (11 - len(inputs))]
    options = _Options(
        chunk_size, dt_limit, return_final_states, activation, rmsnorm_eps, headdim, ngroups, norm_before_gate, backend, num_threads
    )
    gradients = _Block(name, arrays, options).backward(grad)
    return tuple(_arrays.narrow(g, x) for g, x in zip(gradients, arrays) if g is not None)


class _Options(NamedTuple):
    chunk_size: Any
    dt_limit: Any
    final: bool
    activation: Any
    eps: Any
    headdim: Any
    groups: Any
    norm_first: bool
    backend: Any
    num_threads: Any


_INPUTS = (
    "zxbcdt", "conv1d_weight", "conv1d_bias", "dt_bias", "A", "D", "initial_states", "seq_idx", "rmsnorm_weight", "outproj_weight",
    "outproj_bias",
)  # fmt: skip
_CHECKED_BY_OPS = ("conv1d_bias", "initial_states", "seq_idx")


class _Block:
    """(16)-(21): the arrays and sizes of one call."""

    def __init__(self, name: str, arrays: Sequence[Any], options: _Options) -> None:
        self.label, self.options, self.inputs = f"ssm.{name}", options, dict(zip(_INPUTS, arrays))
        self.zxbcdt, self.weight, self.bias, self.dt_bias, self.A, self.D, self.initial, self.seq_idx, *rest = arrays
        self.norm, self.out, self.out_bias = rest
        if not is_compiling():  # the tracer cannot inspect a parameter's type, and the ops check their inputs
            self._check_kinds()
        limits(name, options.dt_limit)
        self.run: dict[str, Any] = {"backend": options.backend, "num_threads": options.num_threads}
        self.eps = _arguments.number(options.eps, self.label, "rmsnorm_eps")
        self._take_sizes()
        self._check_parameters()
        zxbcdt, M, inner, mixed = self.zxbcdt, self.M, self.inner, self.weight.shape[0]
        self.xp = _arrays.namespace(zxbcdt)
        self.mlp = [_arrays.widen(zxbcdt[..., i * M : (i + 1) * M]) for i in (0, 1)]
        self.z = zxbcdt[..., 2 * M : 2 * M + inner]
        self.before = zxbcdt[..., 2 * M + inner : 2 * M + inner + mixed].swapaxes(1, 2)  # channels before time
        self.dt = zxbcdt[..., 2 * M + inner + mixed :]

    def _check_kinds(self) -> None:
        """Check the arrays that no op receives in full."""
        for name, array in self.inputs.items():
            if name in _CHECKED_BY_OPS or (array is None and name.startswith(("rmsnorm", "outproj"))):
                continue
            check_kind(self.label, name, array, "zxbcdt", self.zxbcdt)
            dtype, expected = _arrays.dtype_name(array), _arrays.dtype_name(self.zxbcdt)
            if _arrays.wide(dtype) not in _arrays.REAL or _arrays.wide(dtype) != _arrays.wide(expected):
                raise TypeError(
                    f"{self.label}: {name} has dtype {dtype} but zxbcdt has {expected}; expected real arrays of the same precision"
                )

    def _take_sizes(self) -> None:
        label, headdim = self.label, self.options.headdim
        self.G = groups = _arguments.integer(self.options.groups, label, "ngroups", 1)
        D, weight, projected = tuple(self.D.shape), tuple(self.weight.shape), tuple(self.zxbcdt.shape)
        if len(D) not in (1, 2):
            raise ValueError(f"{label}: D has shape {D}, expected (H, P) or (H,)")
        if len(D) == 1 and headdim is None:
            raise ValueError(f"{label}: headdim is None, expected P, because D has shape (H,) = {D}")
        self.H, self.P = D[0], D[1] if len(D) == 2 else _arguments.integer(headdim, label, "headdim", 0)
        if headdim is not None and headdim != self.P:
            raise ValueError(f"{label}: headdim is {headdim}, expected {self.P}, because D has shape {D}")
        if self.H % groups:
            raise ValueError(f"{label}: ngroups is {groups}, expected a divisor of {self.H}, the number of heads of D")
        self.inner = inner = self.H * self.P
        if len(weight) != 2 or weight[0] < inner or (weight[0] - inner) % (2 * groups):
            raise ValueError(f"{label}: conv1d_weight has shape {weight}, expected (H P + 2 G N, W) with H P = {inner} and G = {groups}")
        self.N = (weight[0] - inner) // (2 * groups)
        fixed = inner + weight[0] + self.H
        rest = projected[2] - fixed if len(projected) == 3 else -1
        if rest < 0 or rest % 2:
            raise ValueError(f"{label}: zxbcdt has shape {projected}, expected (B, L, 2 M + {fixed}), where {fixed} is 2 H P + 2 G N + H")
        self.M = rest // 2

    def _check_parameters(self) -> None:
        label, wide = self.label, self.M + self.inner
        expected = [("dt_bias", self.dt_bias, (self.H,), "(H,)"), ("A", self.A, (self.H,), "(H,)")]
        expected += [("rmsnorm_weight", self.norm, (self.inner,), "(H P,)")] if self.norm is not None else []
        if self.out is None and self.out_bias is not None:
            raise ValueError(f"{label}: got outproj_bias without outproj_weight, expected both or neither")
        if self.out is not None and (len(self.out.shape) != 2 or self.out.shape[1] != wide):
            raise ValueError(f"{label}: outproj_weight has shape {tuple(self.out.shape)}, expected (O, M + H P) with M + H P = {wide}")
        expected += [("outproj_bias", self.out_bias, (self.out.shape[0],), "(O,)")] if self.out_bias is not None else []
        for name, array, shape, letters in expected:
            if tuple(array.shape) != shape:
                raise ValueError(f"{label}: {name} has shape {tuple(array.shape)}, expected {letters} = {shape}")

    def _heads(self, y: Any) -> Any:
        return y.reshape(*y.shape[:2], self.H, self.P)

    def _scan_arrays(self) -> list[Any]:
        """(16): the inputs of the scan, with the gate if there is no norm."""
        conv = causal_conv1d_fn(self.before, self.weight, self.bias, self.seq_idx, activation=self.options.activation, **self.run)
        mixed, inner, each = conv.swapaxes(1, 2), self.inner, self.G * self.N
        x, B, C = mixed[..., :inner], mixed[..., inner : inner + each], mixed[..., inner + each :]
        B, C = (m.reshape(*m.shape[:2], self.G, self.N) for m in (B, C))
        gate = self._heads(self.z) if self.norm is None else None
        return [self._heads(x), self.dt, self.A, B, C, self.D, gate, self.dt_bias, self.initial, self.seq_idx]

    def _scan(self, arrays: list[Any]) -> tuple[Any, Any]:
        o = self.options
        scan: Any = mamba_chunk_scan_combined
        y, states = scan(*arrays[:5], o.chunk_size, *arrays[5:], None, True, o.dt_limit, return_final_states=True, **self.run)
        return y, states

    def _grouped(self, y: Any) -> Any:
        return y.reshape(*y.shape[:2], self.G, y.shape[2] // self.G)

    def _inverse_root(self, y: Any) -> Any:
        """1 / sqrt(mean square + eps) of every group, as (B, L, G, 1)."""
        square = self._grouped(y * y)
        return 1 / (square.sum(-1)[..., None] / max(square.shape[3], 1) + self.eps) ** 0.5

    def _normed(self, y: Any) -> Any:
        """(17), (18): norm and gate of the scan's result (B, L, H P)."""
        gate = _silu(_arrays.widen(self.z))
        y = y if self.options.norm_first else y * gate
        n = (self._grouped(y) * self._inverse_root(y)).reshape(*y.shape) * _arrays.widen(self.norm)
        return n * gate if self.options.norm_first else n

    def _before_projection(self, y: Any) -> Any:
        flat = _arrays.widen(y).reshape(*y.shape[:2], self.inner)
        flat = flat if self.norm is None else self._normed(flat)
        return self.xp.concatenate((_silu(self.mlp[0]) * self.mlp[1], flat), axis=2) if self.M else flat

    def forward(self) -> tuple[Any, Any]:
        y, states = self._scan(self._scan_arrays())
        u = self._before_projection(y)
        if self.out is not None:
            u = u @ _arrays.widen(self.out).T
            u = u if self.out_bias is None else u + _arrays.widen(self.out_bias)
        return _arrays.narrow(u, self.zxbcdt), states

    def backward(self, grad: Any) -> list[Any]:
        """(20): the gradients of all inputs; None for inputs without a gradient."""
        o = self.options
        arrays = self._scan_arrays()
        y, states = self._scan(arrays)
        grad, grad_states = self._checked(grad, y, states)
        dout = dbias = dz = dnorm = None
        g = _arrays.widen(grad)
        if self.out is not None:
            u = self._before_projection(y)
            u, flat = (m.reshape(m.shape[0] * m.shape[1], m.shape[2]) for m in (u, g))
            dout, dbias, g = flat.T @ u, flat.sum(0), g @ _arrays.widen(self.out)
        a, b = self.mlp
        of_mlp, g = g[..., : self.M], g[..., self.M :]
        pairs = [of_mlp * b * _silu_slope(a), of_mlp * _silu(a)]
        if self.norm is not None:
            g, dz, dnorm = self._norm_gradient(_arrays.widen(y).reshape(*g.shape), g)
        into = _arrays.narrow(self._heads(g), y)
        gradients = list(
            mamba_chunk_scan_combined_vjp(
                *arrays, (into, grad_states) if o.final else into, chunk_size=o.chunk_size, dt_softplus=True, dt_limit=o.dt_limit,
                return_final_states=o.final, **self.run,
            )
        )  # fmt: skip
        if self.norm is None:
            dz = gradients.pop(6).reshape(*g.shape)
        dx, ddt, dA, dB, dC, dD, ddt_bias = gradients[:7]
        flat = [_arrays.widen(m).reshape(*m.shape[:2], m.shape[2] * m.shape[3]) for m in (dx, dB, dC)]
        mixed = _arrays.narrow(self.xp.concatenate(flat, axis=2).swapaxes(1, 2), self.before)
        back = causal_conv1d_fn_vjp(self.before, self.weight, self.bias, self.seq_idx, None, mixed, activation=o.activation, **self.run)
        dzxbcdt = self.xp.concatenate([*pairs, *(_arrays.widen(m) for m in (dz, back[0].swapaxes(1, 2), ddt))], axis=2)
        return [
            dzxbcdt, back[1], None if self.bias is None else back[2], ddt_bias, dA, dD, None if self.initial is None else gradients[7],
            None, dnorm, dout, None if self.out_bias is None else dbias,
        ]  # fmt: skip

    def _checked(self, grad: Any, y: Any, states: Any) -> tuple[Any, Any]:
        """Check and return the gradients of the result and of the states."""
        wide = self.M + self.inner if self.out is None else self.out.shape[0]
        grads, shapes = {"grad": grad}, {"grad": (*y.shape[:2], wide)}
        if self.options.final:
            if not isinstance(grad, (tuple, list)) or len(grad) != 2:
                what = "expected a tuple of two arrays, the gradients of the result and of the states"
                raise TypeError(f"{self.label}: grad is {type(grad).__name__}, {what}")
            grads = {"grad": grad[0], "grad of the states": grad[1]}
            shapes["grad of the states"] = tuple(states.shape)
        for name, array in grads.items():
            if _arrays.kind(array) is None:
                raise TypeError(f"{self.label}: {name} is {_arrays.describe(array)}, expected an array of shape {shapes[name]}")
            if tuple(array.shape) != shapes[name]:
                raise ValueError(f"{self.label}: {name} has shape {tuple(array.shape)}, expected {shapes[name]}, the shape of the result")
        return grads["grad"], grads.get("grad of the states")

    def _norm_gradient(self, y: Any, g: Any) -> tuple[Any, Any, Any]:
        """(21): the gradients of the scan's result, of z and of the weight."""
        z, weight, first = _arrays.widen(self.z), _arrays.widen(self.norm), self.options.norm_first
        gate, slope = _silu(z), _silu_slope(z)
        v = y if first else y * gate
        root = self._inverse_root(v)
        normed = (self._grouped(v) * root).reshape(*v.shape)
        to_normed = g * gate * weight if first else g * weight
        dweight = (g * normed * gate if first else g * normed).sum((0, 1))
        size = max(self.inner // self.G, 1)
        mean = (self._grouped(to_normed * normed)).sum(-1)[..., None] / size
        dv = (root * (self._grouped(to_normed) - self._grouped(normed) * mean)).reshape(*v.shape)
        if first:
            return dv, g * normed * weight * slope, dweight
        return dv * gate, dv * y * slope, dweight


def _sigmoid(x: Any) -> Any:
    if _arrays.kind(x) == "torch":
        return x.sigmoid()
    xp = _arrays.namespace(x)
    e = xp.exp(-abs(x))  # the argument is <= 0, so nothing overflows
    return xp.where(x < 0, e, xp.ones_like(e)) / (1 + e)


def _silu(x: Any) -> Any:
    return x * _sigmoid(x)


def _silu_slope(x: Any) -> Any:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))
