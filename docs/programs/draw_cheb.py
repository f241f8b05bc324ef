import sys

import matplotlib.pyplot as plt
import numpy as np
from value_and_gradient import ct, f, points

import quatrefoil as qf

x, y = np.linspace(-1, 1, 121), np.linspace(-1, 1, 121)
plane = np.stack(np.broadcast_arrays(x[:, None], y, 0.3), axis=-1)
value, gradient = ct.value_and_grad(plane.reshape(-1, 3))
tols = 10.0 ** -np.arange(2, 13)
tensors = [qf.cheb.ChebTucker.from_function(f, ct.domain, tol=tol) for tol in tols]
errors = [np.abs(c(points[:20_000]) - f(*points[:20_000].T)).max() for c in tensors]

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
mesh = left.pcolormesh(x, y, value.reshape(121, 121).T, cmap="RdBu_r", shading="gouraud")
figure.colorbar(mesh, ax=left)
coarse = np.s_[4::8, 4::8]
arrows = gradient.reshape(121, 121, 3)[coarse]
left.quiver(plane[coarse][..., 0], plane[coarse][..., 1], arrows[..., 0], arrows[..., 1])
left.set(title="f and its gradient at z = 0.3", xlabel="x", ylabel="y", aspect="equal")
right.loglog(tols, errors, "o-", label="largest error at 20 000 points")
right.loglog(tols, tols, "--", color="0.6", label="tol")
for tol, error, c in list(zip(tols, errors, tensors))[::3]:
    right.annotate(f"ranks {'·'.join(map(str, c.rank))}", (tol, error), xytext=(6, -10), textcoords="offset points", fontsize=8)
right.set(title="requested and actual error", xlabel="tol")
right.legend()
figure.savefig(sys.argv[1], dpi=110)
