"""Invalid arguments of covariance functions, numbers next to tensors, and units of length."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from quatrefoil.kron.mixture import spectral_mixture_lags

X, Y = np.linspace(0, 1, 5) ** 2, np.linspace(0, 2, 4)
ONES = np.ones(3)
rbf, matern52 = qf.kron.rbf, qf.kron.matern52


def spectral(x=X, y=None, **changed):
    return qf.kron.spectral_mixture(x, y, **{"log_weights": ONES, "log_scales": ONES, "freqs": ONES, **changed})


def gsmp(x=X, y=None, **changed):
    return qf.kron.gsmp_kernel(x, y, **{"weights": ONES, "means": ONES, "std": 0.1, **changed})


def at(value, n=3, index=1, dtype=np.float64):
    a = np.ones(n, dtype)
    a[index] = value
    return a


VALUES = [
    (lambda: rbf(X, scale=0.0), "rbf: scale is 0.0, expected a finite positive number"),
    (lambda: rbf(X, scale=np.array(-0.5)), "rbf: scale is -0.5, expected finite positive numbers"),
    (lambda: rbf(np.ones((4, 3)), scale=at(0.0)), r"rbf: scale\[1\] is 0, expected finite positive numbers"),
    (lambda: rbf(at(np.nan), scale=1.0), r"rbf: x\[1\] is nan, expected finite numbers"),
    (lambda: rbf(X, at(-np.inf, index=2), scale=1.0), r"rbf: y\[2\] is -inf, expected finite numbers"),
    (lambda: qf.kron.rbf_vjp(X, None, 0.0, np.ones((5, 5))), "rbf_vjp: scale is 0.0"),
    (lambda: spectral(kind="cauchy"), "spectral_mixture: kind is 'cauchy', expected one of 'student_t', 'gaussian'"),
    (lambda: spectral(order=3), "spectral_mixture: order is 3, expected at most 2"),
    (lambda: spectral(order=-1), "spectral_mixture: order is -1, expected at least 0"),
    (lambda: spectral(at(np.inf)), r"spectral_mixture: x\[1\] is inf"),
    (lambda: spectral(log_weights=at(np.nan)), r"spectral_mixture: log_weights\[1\] is nan"),
    (lambda: spectral(freqs=at(np.inf)), r"spectral_mixture: freqs\[1\] is inf"),
    (lambda: spectral_mixture_lags(at(np.nan), ONES, ONES, ONES), r"spectral_mixture_lags: d\[1\] is nan"),
    (lambda: gsmp(weights=at(-0.1)), r"gsmp_kernel: weights\[1\] is -0.1, expected finite nonnegative numbers"),
    (lambda: gsmp(means=at(np.inf)), r"gsmp_kernel: means\[1\] is inf"),
    (lambda: gsmp(std=-0.1), "gsmp_kernel: std is -0.1, expected a finite nonnegative number"),
    (lambda: gsmp(std=at(-0.1)), r"gsmp_kernel: std\[1\] is -0.1, expected finite nonnegative numbers"),
    (lambda: rbf(np.ones((4, 2)), scale=ONES), r"rbf: scale has shape \(3,\), expected \(\) or \(P,\) with P = 2 as in x"),
    (lambda: rbf(np.ones((4, 2)), Y, scale=1.0), r"rbf: y has shape \(4,\), expected \(M, P\) with P = 2 as in x"),
    (lambda: rbf(np.ones((2, 3, 4)), scale=1.0), r"rbf: x has shape \(2, 3, 4\)"),
    (lambda: spectral(np.ones((4, 2))), r"spectral_mixture: x has shape \(4, 2\)"),
    (lambda: gsmp(means=np.ones((3, 1))), r"gsmp_kernel: means has shape \(3, 1\)"),
    (lambda: gsmp(np.ones((4, 2)), std=np.ones((3, 3))), r"gsmp_kernel: std has shape \(3, 3\)"),
]
TYPES = [
    (lambda: rbf(X, scale=[1.0]), "rbf: scale is list"),
    (lambda: rbf(X, scale=None), "rbf: scale is None"),
    (lambda: qf.kron.rbf_vjp(X, None, 1.0), "rbf_vjp: expected x, y, scale and grad, got 3 arguments"),
    (lambda: spectral(order=1.0), "spectral_mixture: order is 1.0, expected an integer"),
    (lambda: qf.kron.gsmp_kernel_vjp(X, None, ONES), "gsmp_kernel_vjp: expected x, y, weights, means, std and grad, got 3 arguments"),
]


def test_rejected():
    check_rejected([(call, ValueError, rf"^kron\.{text}" if ": " in text else text) for call, text in VALUES])
    check_rejected([(call, TypeError, rf"^kron\.{text}") for call, text in TYPES])


@pytest.mark.torch
def test_numbers_next_to_tensors(best_backend):
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float64):
        x, components = torch.from_numpy(X).to(dtype), {"weights": torch.ones(3, dtype=dtype), "means": torch.ones(3, dtype=dtype)}
        K = rbf(x, scale=0.5)
        assert K.dtype == dtype
        np.testing.assert_array_equal(K.numpy(), rbf(x.numpy(), scale=0.5))

        def both(z, components=components):
            return rbf(z, scale=0.5) + gsmp(z, **components)

        torch.testing.assert_close(torch.compile(both, backend="aot_eager")(x), both(x))
        several = torch.stack([x, 2 * x])
        torch.testing.assert_close(torch.vmap(both)(several), torch.stack([both(x), both(2 * x)]))
    assert rbf(torch.empty(3, device="meta"), scale=0.5).shape == (3, 3)
    graded = x.clone().requires_grad_()
    check_rejected([
        (lambda: gsmp(graded, **components), NotImplementedError, "gsmp_kernel is not differentiable with respect to x"),
        (lambda: rbf(x, scale=np.array(1.0)), TypeError, "scale is a numpy array but x is a torch array"),
        (lambda: rbf(x, Y, scale=1.0), TypeError, "y is a numpy array but x is a torch array"),
    ])  # fmt: skip


UNITS = {
    "rbf": lambda u: ({"scale": np.array(0.3 * u)}, [1 / u]),
    "matern52": lambda u: ({"scale": np.array(0.3 * u)}, [1 / u]),
    "spectral_mixture": lambda u: (
        {"log_weights": np.zeros(2), "log_scales": np.full(2, -np.log(u)), "freqs": np.array([1.0, 2.0]) / u}, [1, 1, u],
    ),
    "gsmp_kernel": lambda u: ({"weights": np.array([0.5, 1]), "means": np.array([1.0, 2.0]) / u, "std": np.array(0.4 / u)}, [1, u, u]),
}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("unit", [2.0**-600, 2.0**600])
@pytest.mark.parametrize("backend", ["native", "numba", "array"])
@pytest.mark.parametrize("axis", ["uniform", "points"])
def test_the_unit_of_length(name, unit, backend, axis, rng):
    """Lengths may have squares outside the range of float64. Gradients are per unit of length."""
    x = np.linspace(0, 1, 5) if axis == "uniform" else np.sort(rng.uniform(0, 1, 5))
    G, (one, _), (moved, per) = rng.standard_normal((5, 5)), UNITS[name](1.0), UNITS[name](unit)
    kernel, vjp = getattr(qf.kron, name), getattr(qf.kron, f"{name}_vjp")
    np.testing.assert_allclose(kernel(x * unit, **moved, backend=backend), kernel(x, **one), rtol=0, atol=1e-11)
    got, expected = (vjp(a, None, *scales.values(), G, backend=b) for a, scales, b in ((x * unit, moved, backend), (x, one, None)))
    per = [1 / unit, *per][-len(got) :]  # the gradient with respect to x comes first, if the kernel has one
    for a, p, b in zip(got, per, expected, strict=True):
        np.testing.assert_allclose(a / p, b, rtol=0, atol=1e-10 * np.abs(b).max())
