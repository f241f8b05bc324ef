import numpy as np

import quatrefoil as qf

x, y = np.linspace(0, 1, 60), np.linspace(0, 2, 80)
truth = np.sin(6 * x)[:, None] * np.cos(4 * y)
rng = np.random.default_rng(0)
table = truth + 0.2 * rng.standard_normal(truth.shape)
seen = rng.random(truth.shape) > 0.3
table[~seen] = np.nan
gp = qf.kron.GridGP(qf.kron.rbf).fit([x, y], table)
mean, deviation = gp.predict([x, y], return_std=True)
print([k.keywords["scale"] for k in gp.kernels_], gp.variance_, gp.noise_)
