"""Random programs over ``GridGP`` in any units, compared with dense regression. For functions of grids, see the cases.py of each folder.

``ATTACKS`` are functions of a generator and a backend. Each draws one program and raises AssertionError if an answer is wrong."""

import contextlib
import functools
import math
import pickle
import warnings
from unittest import mock

import numpy as np

import quatrefoil as qf
from kron.dense import EPS, Dense, fixed, near, partial, unit_of, written_out


def drawn_kernel(rng, length, columns):
    """A random kernel for an axis of about this length."""
    scale = length * rng.uniform(0.2, 1)
    kind = rng.integers(3 if columns else 6)
    if kind < 2:
        function = (qf.kron.rbf, qf.kron.matern52)[kind]
        return partial(function, scale=length * rng.uniform(0.2, 1, columns) if columns and rng.random() < 0.5 else np.array(scale))
    if kind == 2:
        return partial(fixed, scale=scale)
    Q = int(rng.integers(1, 3))
    freqs = rng.uniform(0, 2, Q) / length
    if kind == 3:
        return partial(qf.kron.gsmp_kernel, weights=rng.uniform(0.2, 1, Q), means=freqs, std=np.array(0.2 / length))
    power = 1 if kind == 4 else 2
    options = {"log_weights": rng.uniform(-1, 0, Q), "log_scales": rng.uniform(-1, 1, Q) - power * math.log(length), "freqs": freqs}
    return partial(qf.kron.spectral_mixture, **options, kind="student_t" if kind == 4 else "gaussian")


def drawn_noise_kernel(rng, length, columns):
    """A rough kernel with a short scale, or white noise, so that the covariance stays positive definite."""
    function = ("white", qf.kron.matern12, qf.kron.matern32)[rng.integers(2 if columns else 3)]
    return function if function == "white" else partial(function, scale=np.array(length * rng.uniform(0.02, 0.3)))


class Program:
    """A random model and its data. With ``structured``, the noise has kernels too."""

    def __init__(self, rng, backend, structured=False):
        self.rng = rng
        shape = [int(n) for n in rng.choice([1, 2, 3, 4, 5, 7], rng.integers(1, 4))]
        while math.prod(shape) > 60:
            shape.pop()
        if rng.random() < 0.03:
            shape[0] = 0
        self.shape, self.height = tuple(shape), unit_of(rng)
        self.lengths, self.columns = [unit_of(rng) for _ in shape], [int(rng.choice([0, 0, 2])) for _ in shape]
        self.kernels = [drawn_kernel(rng, l, c) for l, c in zip(self.lengths, self.columns)]
        self.variance = self.height**2 * rng.uniform(0.5, 2)
        level = self.variance * 10.0 ** rng.uniform(-6, 1)
        self.noise = level if structured or rng.random() < 0.6 else level * rng.uniform(1, 10, math.prod(shape))
        self.noise_kernels = [drawn_noise_kernel(rng, l, c) for l, c in zip(self.lengths, self.columns)] if structured else None
        self.mean = str(rng.choice(["zero", "constant", "linear"], p=[0.6, 0.2, 0.2]))
        optimizer = rng.choice(["none", "steps", "search"], p=[0.6, 0.2, 0.2])
        self.options = {
            "optimizer": {"none": None, "steps": descent, "search": "fmin_l_bfgs_b"}[optimizer], "mean": self.mean, "rng": 0,
             "n_restarts_optimizer": int(rng.integers(2)), "backend": backend,
        }  # fmt: skip
        self.draw()

    def draw(self):
        rng = self.rng
        self.axes = [l * rng.uniform(0, 1, (n, c) if c else n) for l, n, c in zip(self.lengths, self.shape, self.columns)]
        self.axes = [np.linspace(-l, l, n) if not c and rng.random() < 0.3 else x for x, l, n, c in
                     zip(self.axes, self.lengths, self.shape, self.columns)]  # fmt: skip
        self.Y = self.height * (rng.standard_normal(self.shape) + rng.choice([0, 3]))
        share = rng.choice([0, 0.3, 0.8])
        self.mask = None if rng.random() < 0.4 else rng.random(self.shape) < share
        if self.mask is not None:
            self.Y[~self.mask] = rng.choice([np.nan, np.inf, 0])

    def model(self):
        return qf.kron.GridGP(self.kernels, noise=self.noise, noise_kernels=self.noise_kernels, variance=self.variance, **self.options)

    def fit(self, gp):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "GridGP.fit: the (optimiser did not converge|search ended with)", RuntimeWarning)
            seen = np.ones(self.shape, bool) if self.mask is None else self.mask
            if seen.any() and not any(self.columns) and np.ndim(self.noise) == 0 and self.rng.random() < 0.2:  # pass the cells as points
                grid = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)
                return gp.fit(grid[seen], self.Y[seen])
            return gp.fit(self.axes, self.Y, self.mask)

    def design(self, seen):
        """A function of points that returns orthonormal columns spanning the mean, without directions that the cells do not determine."""
        observed = [x[i] for x, i in zip(self.axes, np.nonzero(seen))]
        if self.mean == "zero" or not seen.any():
            return None
        middles = [c.mean() if np.ptp(c) else c[0] for x in observed for c in np.atleast_2d(x.T)]
        halves = [np.abs(c - m).max() or np.inf for c, m in zip((c for x in observed for c in np.atleast_2d(x.T)), middles)]

        def columns(points):
            coordinates = [c for x in points for c in np.atleast_2d(x.T)] if self.mean == "linear" else []
            return np.stack([np.ones(len(points[0])), *[(c - m) / h for c, m, h in zip(coordinates, middles, halves)]], axis=1)

        _, sizes, rows = np.linalg.svd(columns(observed), full_matrices=False)
        spanned = sizes > 1e-4 * sizes[0]
        return lambda points: columns(points) @ (rows[spanned] / sizes[spanned, None]).T

    def points(self):
        """Points for ``predict``, and the columns of every axis."""
        rng = self.rng
        if rng.random() < 0.5:
            new = [l * rng.uniform(-0.2, 1.2, (m, c) if c else m) for l, m, c in zip(self.lengths, rng.integers(0, 4, 9), self.columns)]
            at = [i.reshape(-1) for i in np.indices([len(x) for x in new])]
            return new, [x[i] for x, i in zip(new, at)]
        count = rng.integers(0, 6)
        parts = [l * rng.uniform(-0.2, 1.2, (count, c) if c else count) for l, c in zip(self.lengths, self.columns)]
        return np.concatenate([p.reshape(count, max(c, 1)) for p, c in zip(parts, self.columns)], axis=1), parts

    def check(self, gp):
        """Compare every answer with the dense posterior at the learnt parameters."""
        rng = self.rng
        seen = np.ones(self.shape, bool) if self.mask is None else self.mask
        kernels, of_noise = ([written_out(k) for k in both] for both in (gp.kernels_, gp.noise_kernels_))
        dense = Dense(kernels, self.axes, np.where(seen, self.Y, 0), seen, gp.noise_, gp.variance_, self.design(seen), of_noise)
        largest = np.linalg.norm(dense.C, 2) if len(dense.y) else 0
        smallest = np.min(gp.noise_, initial=np.inf) * math.prod(np.linalg.eigvalsh(f).min(initial=1) for f in dense.noise_factors)
        condition = max(1.0, largest / smallest)
        condition *= np.linalg.cond(dense.A) if dense.A.size else 1.0  # for the coefficients of the mean, which may be barely determined
        if condition > 1e8:  # a search may end there
            return
        tolerance, deviation = 1e3 * EPS * condition, math.sqrt(gp.variance_)
        terms = dense.rest @ np.linalg.solve(dense.C, dense.rest) + len(dense.y) * (1 + abs(math.log(gp.variance_)))
        near(gp.log_marginal_likelihood(), dense.log_likelihood(), tolerance, "likelihood", terms)
        if self.options["optimizer"] != "fmin_l_bfgs_b":  # a search may end on a ridge
            theta, step = gp.theta_, 1e-4 * rng.standard_normal(len(gp.theta_)) * np.minimum(1, np.abs(gp.theta_))
            slope = gp.log_marginal_likelihood(theta + step) - gp.log_marginal_likelihood(theta - step)
            changes = 2 * step * gp.log_marginal_likelihood(eval_gradient=True)[1]
            allowed = 1e-3 * np.abs(changes).sum() + 2 * tolerance * terms  # errors of the difference, and rounding errors of both values
            assert abs(changes.sum() - slope) <= allowed, f"gradient: {changes.sum():.3e}, expected {slope:.3e} to {allowed:.1e}"
        X, columns = self.points()
        mean, covariance = dense.predict(columns)
        terms = np.abs(dense.design(columns)) @ np.abs(dense.beta)
        got, std = gp.predict(X, return_std=True)
        largest = max(np.abs(dense.rest).max(initial=0), terms.max(initial=0), deviation)
        near(got.reshape(-1), mean, max(tolerance, 1e-6 if self.mean == "linear" else 0), "mean", largest)  # slopes from few cells
        near(std.reshape(-1) ** 2, np.maximum(np.diagonal(covariance), 0), tolerance, "variance", deviation**2)
        drawn = gp.sample(X, 64, rng=rng).reshape(64, len(mean))
        spread = np.sqrt(np.maximum(np.diagonal(covariance), 0)) + (1e3 * tolerance) ** 0.5 * deviation
        z = (drawn - got.reshape(-1)).mean(axis=0) / spread * 8
        assert np.abs(z).max(initial=0) < 6, f"samples: z = {z}"
        assert ((drawn - got.reshape(-1)) ** 2).mean(axis=0).max(initial=0) <= 5 * (spread**2).max(initial=0), "samples spread"


def descent(objective, theta, bounds):
    """Two steps along the gradient, each of at most 0.1 or a tenth of the value."""
    value, gradient = objective(theta)
    for _ in range(2):
        theta = np.clip(theta - 0.1 * np.minimum(1, np.abs(theta)) * np.tanh(gradient), *bounds.T)
        value, gradient = objective(theta)
    return theta, value


INNER = [
    "gridfit.Kriging.from_alpha", "gridmodel.covariance_of", "gridgp.axis_kernels", "gridmodel.axes_of", "axis_kernel.OurKernel.__call__",
]  # fmt: skip


@contextlib.contextmanager
def stopped(name, left, error):
    """Raise an error from an inner function after a number of calls."""
    name = f"quatrefoil.kron.models.{name}"
    original = functools.reduce(getattr, name.split(".")[1:], qf)

    def raises(*inputs, **options):
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        return original(*inputs, **options)

    with mock.patch(name, raises), contextlib.suppress(error):
        yield


def interrupted(rng):
    return stopped(rng.choice(INNER), int(rng.choice([0, 1, 5])), (KeyboardInterrupt, RuntimeError, MemoryError)[rng.integers(3)])


def attack_gridgp(rng, backend, structured=False):
    """Draw fits, refits, pickles, changed arguments and interrupts."""
    p = Program(rng, backend, structured)
    gp = p.model()
    if rng.random() < 0.3:
        finished = False
        with interrupted(rng):
            p.fit(gp)
            finished = True
        assert hasattr(gp, "theta_") == finished
    p.fit(gp)
    p.check(gp)
    if rng.random() < 0.5:  # a second fit, perhaps to other data, which may be interrupted
        before, old = pickle.dumps(gp), (p.axes, p.Y, p.mask)
        p.draw()
        finished = False
        with interrupted(rng) if rng.random() < 0.7 else contextlib.nullcontext():
            p.fit(gp)
            finished = True
        if not finished:
            p.axes, p.Y, p.mask = old
            assert np.array_equal(gp.theta_, pickle.loads(before).theta_)
        p.check(gp)
    if rng.random() < 0.3:
        gp = pickle.loads(pickle.dumps(gp))
        p.check(gp)
    kernels = [*p.kernels, *(k for k in p.noise_kernels or () if k != "white")]
    inputs = [*p.axes, p.Y, p.mask, p.noise, *[v for k in kernels for v in k.keywords.values()]]
    p.axes, p.Y, p.mask = [a.copy() for a in p.axes], p.Y.copy(), None if p.mask is None else p.mask.copy()
    for array in inputs:
        if isinstance(array, np.ndarray):
            array[...] = 7  # no answer may depend on it
    p.check(gp)


def attack_structured_noise(rng, backend):
    """``attack_gridgp`` with noise that is correlated along axes."""
    attack_gridgp(rng, backend, structured=True)


ATTACKS = [attack_gridgp, attack_structured_noise]
