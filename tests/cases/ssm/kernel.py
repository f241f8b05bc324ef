from .. import Case


def _complex(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _poles(rng, shape):
    """Stable, of moderate frequency: the suite's difference quotients are then exact to 1e-9 at any length."""
    return -rng.uniform(1, 2, shape) + 1j * rng.uniform(-4, 4, shape)


def _kernel(H, N, L, disc="zoh", M=None, B=False):
    def make(rng):
        dt = rng.uniform(0.2, 0.5, H)
        keywords = {"L": L, "disc": disc, **({"B": _complex(rng, (H, N))} if B else {})}
        return [dt, _poles(rng, (H, N)), _complex(rng, (H, N) if M is None else (M, H, N))], keywords

    return make


def _sum(v, x, L, **keywords):
    return lambda rng: ([_complex(rng, v), 0.3 * _poles(rng, x)], {"L": L, **keywords})


def _transpose(v, x, L):
    return lambda rng: ([rng.standard_normal((*v[:-1], L)), _complex(rng, v), 0.3 * _poles(rng, x)], {"L": L})


CASES = [
    *[
        Case("s4d_kernel", f"{disc}-L{L}-N{N}", _kernel(3, N, L, disc))
        for disc in ("zoh", "bilinear", "dss")
        for L, N in ((1, 1), (2, 7), (17, 8), (48, 3), (49, 9), (97, 5), (1000, 16), (4097, 2))
    ],
    Case("s4d_kernel", "small", _kernel(2, 3, 20, "zoh", B=True)),
    Case("s4d_kernel", "batch", _kernel(2, 3, 11, "bilinear", M=2, B=True)),
    Case("s4d_kernel", "d3", _kernel(2, 3, 13, "dss", B=True)),
    Case("s4d_kernel", "many-channels", _kernel(21, 4, 300)),
    Case("s4d_kernel", "outputs", _kernel(3, 5, 700, M=3)),
    Case("s4d_kernel", "one-long-channel", _kernel(1, 3, 14001)),
    Case("s4d_kernel", "no-channels", _kernel(0, 3, 10)),
    Case("s4d_kernel", "no-modes", _kernel(3, 0, 10)),
    Case("s4d_kernel", "no-length", _kernel(3, 4, 0, B=True)),
    Case("s4d_kernel", "no-outputs", _kernel(3, 4, 10, M=0)),
    Case("log_vandermonde", "small", _sum((2, 3), (2, 3), 9)),
    Case("log_vandermonde", "shared-poles", _sum((2, 3, 5), (3, 5), 200)),
    Case("log_vandermonde", "one-row", _sum((6,), (6,), 100)),
    Case("log_vandermonde", "many-axes", _sum((2, 3, 2, 4), (3, 2, 4), 77)),
    Case("log_vandermonde", "complex-sum", _sum((2, 3, 5), (3, 5), 131, conj=False)),
    Case("log_vandermonde", "complex-sum-long", _sum((5,), (5,), 13001, conj=False)),
    Case("log_vandermonde", "empty", _sum((0, 5), (0, 5), 4)),
    Case("log_vandermonde", "no-length", _sum((2, 5), (2, 5), 0)),
    Case("log_vandermonde_transpose", "small", _transpose((2, 3), (2, 3), 9)),
    Case("log_vandermonde_transpose", "shared-poles", _transpose((2, 3, 5), (3, 5), 200)),
    Case("log_vandermonde_transpose", "long", _transpose((1, 5), (5,), 13001)),
    Case("log_vandermonde_transpose", "no-length", _transpose((2, 5), (2, 5), 0)),
]
