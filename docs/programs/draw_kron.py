import sys

import matplotlib.pyplot as plt
import numpy as np
from smooth_grid import deviation, mean, table, truth, x, y

figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained", sharey=True)
for ax, values, title in zip(axes, (table, mean, mean - truth, deviation), ("given", "mean", "mean - truth", "standard deviation")):
    limits = (
        {"vmax": np.quantile(values, 0.98)}
        if title == "standard deviation"
        else {"vmin": -1.5, "vmax": 1.5}
        if "truth" not in title
        else {"vmin": -0.2, "vmax": 0.2}
    )
    colours = "viridis" if title == "standard deviation" else "RdBu_r"
    shown = ax.pcolormesh(y, x, np.ma.masked_invalid(values), cmap=colours, shading="nearest", **limits)
    figure.colorbar(shown, ax=ax, location="bottom")
    ax.set_title(title)
figure.savefig(sys.argv[1], dpi=110)
