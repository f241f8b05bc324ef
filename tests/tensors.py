"""Convert NumPy arrays in nested arguments to tensors, and back."""

import numpy as np
import torch

from namespaces import mapped


def plain(x):
    return mapped(np.ndarray, lambda a: torch.from_numpy(a.copy()), x)


def to_numpy(x):
    return mapped(torch.Tensor, lambda t: t.detach().resolve_conj().resolve_neg().numpy(), x)


def lazy(x):
    """The same values as tensors with a pending negation (real) or conjugation (complex)."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(lazy, x))
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc":
        return torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x
    if x.dtype.kind == "c":
        t = torch.from_numpy(np.asarray(x.conj())).conj()
        assert t.is_conj()
    else:
        t = torch.complex(torch.zeros(x.shape, dtype=getattr(torch, x.dtype.name)), torch.from_numpy(np.asarray(-x))).conj().imag
        assert t.is_neg()
    return t
