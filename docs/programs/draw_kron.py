import sys

import matplotlib.pyplot as plt
import numpy as np
from smooth_grid import deviation, mean, table, truth, x, y

pictures = (
    (table, "data", "RdBu_r", -1.5, 1.5),
    (mean, "mean", "RdBu_r", -1.5, 1.5),
    (mean - truth, "mean - truth", "RdBu_r", -0.2, 0.2),
    (deviation, "standard deviation", "viridis", 0, np.quantile(deviation, 0.98)),
)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained", sharey=True)
for ax, (values, title, colours, low, high) in zip(axes, pictures):
    mesh = ax.pcolormesh(y, x, np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, shading="nearest")
    figure.colorbar(mesh, ax=ax, location="bottom")
    ax.set_title(title)
figure.savefig(sys.argv[1], dpi=110)
