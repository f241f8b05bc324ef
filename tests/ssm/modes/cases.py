from case import Case, complex_normal


def poles(rng, shape):
    """Stable poles of moderate frequency, so that the suite's difference quotients are accurate to 1e-9 at any length."""
    return -rng.uniform(1, 2, shape) + 1j * rng.uniform(-4, 4, shape)


def _sum(v, x, L, **keywords):
    return lambda rng: ([complex_normal(rng, v), 0.3 * poles(rng, x)], {"L": L, **keywords})


def _transpose(v, x, L, *, u=None, complex=False):
    """``u``: its shape, if different from that of v."""

    def make(rng):
        shape = (*v[:-1], L) if u is None else u
        samples = complex_normal(rng, shape) if complex else rng.standard_normal(shape)
        return [samples, complex_normal(rng, v), 0.3 * poles(rng, x)], {"L": L}

    return make


CASES = [
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
    Case("log_vandermonde_transpose", "shared-weights", _transpose((3, 5), (3, 5), 70, u=(2, 3, 70))),
    Case("log_vandermonde_transpose", "shared-samples", _transpose((4, 2, 3, 5), (3, 5), 70, u=(2, 1, 70))),
    Case("log_vandermonde_transpose", "complex-small", _transpose((2, 3), (2, 3), 9, complex=True)),
    Case("log_vandermonde_transpose", "complex-samples", _transpose((2, 3, 9), (3, 9), 131, complex=True)),
    Case("log_vandermonde_transpose", "complex-long", _transpose((1, 5), (5,), 13001, complex=True)),
    Case("log_vandermonde_transpose", "complex-shared-weights", _transpose((3, 5), (3, 5), 200, u=(2, 3, 200), complex=True)),
    Case("log_vandermonde_transpose", "complex-no-length", _transpose((2, 5), (2, 5), 0, complex=True)),
]
