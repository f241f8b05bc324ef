import numpy as np

import quatrefoil as qf


def f(x, y, z):
    return np.exp(-((x - 0.3) ** 2 + y**2)) * np.cos(3 * z + x * y)


ct = qf.cheb.ChebTucker.from_function(f, ((-1, 1), (-1, 1), (0, 2)), tol=1e-9)
points = np.random.default_rng(0).uniform((-1, -1, 0), (1, 1, 2), (1_000_000, 3))
value, gradient = ct.value_and_grad(points)
print(ct, np.abs(value - f(*points.T)).max())
