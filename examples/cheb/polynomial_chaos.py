"""Predicting a disease with polynomial chaos
==========================================

The progress of a disease, predicted from ten measurements per patient by a network of polynomials orthonormal over the data.

::

    python examples/cheb/polynomial_chaos.py [SEEDS] [PICTURE]

The table of 442 diabetes patients is included in scikit-learn. Every input has polynomials from its own samples (arbitrary polynomial
chaos, ``orthopoly.from_samples``); two layers of them, with a squashing function in between, form a deep network. R² for unseen patients
over five folds is compared with that of ridge regression, which is hard to beat here: the table is small and nearly linear. The picture
shows the predictions for those patients, and the polynomials of one input.
"""

from __future__ import annotations

import sys

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("this needs PyTorch: pip install 'quatrefoil[torch]'") from error

from quatrefoil.cheb import orthopoly
from quatrefoil.torch import nn

DEGREE, HIDDEN, STEPS, DECAY, RATE = 2, 3, 60, 1.0, 0.02


def table() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ImportError("the table comes with scikit-learn: pip install scikit-learn") from error
    X, y = load_diabetes(return_X_y=True, scaled=False)
    return (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()


def network(X: np.ndarray) -> torch.nn.Module:
    """Polynomials from the inputs' samples (sex has only two values, too few for a square), then polynomials on [-1, 1]."""
    normal = orthopoly.classical("hermite", DEGREE)
    bases = [orthopoly.from_samples(x, DEGREE) if np.unique(x).size > DEGREE else normal for x in X.T]
    first = nn.PolyLayer(X.shape[1], HIDDEN, DEGREE, basis=bases)
    second = nn.PolyLayer(HIDDEN, 1, DEGREE, squash=True)
    return torch.nn.Sequential(first, second).double()


def fit(X: np.ndarray, y: np.ndarray, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = network(X)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((model(inputs) - targets) ** 2).mean().backward()
        optimizer.step()
    return model


def predict(models: list[torch.nn.Module], X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.mean([model(torch.from_numpy(X))[:, 0].numpy() for model in models], axis=0)


def unseen(seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, and predictions for every patient by a network and by a ridge regression fitted without that patient's fold."""
    X, y = table()
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import StandardScaler

    ours, ridge = np.empty_like(y), np.empty_like(y)
    for seen, test in KFold(5, shuffle=True, random_state=0).split(X):
        ours[test] = predict([fit(X[seen], y[seen], seed) for seed in range(seeds)], X[test])
        scaler = StandardScaler().fit(X[seen])
        ridge[test] = RidgeCV(np.logspace(-2, 3, 20)).fit(scaler.transform(X[seen]), y[seen]).predict(scaler.transform(X[test]))
    return y, ours, ridge


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(1 - np.mean((y - predicted) ** 2) / np.var(y))


def draw(y: np.ndarray, ours: np.ndarray, path: str) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    X, _ = table()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    left.plot(y, ours, ".", ms=4)
    left.plot([-2, 3], [-2, 3], "k", lw=0.5)
    left.set(xlabel="progression (standard deviations)", ylabel="network's prediction", title=f"unseen patients: R² = {r2(y, ours):.2f}")
    bmi = X[:, 2]
    basis, x = orthopoly.from_samples(bmi, 3), np.linspace(bmi.min(), bmi.max(), 200)
    right.plot(x, basis(x), label=[f"degree {k}" for k in range(4)])
    right.hist(bmi, bins=30, density=True, color="0.85", zorder=0)
    right.set(xlabel="body mass index, in standard deviations", ylim=(-3, 4), title="polynomials orthonormal over its samples")
    right.legend()
    figure.savefig(path, dpi=120)


def main(seeds: int = 5, path: str | None = None) -> None:
    y, ours, ridge = unseen(seeds)
    of_ridge = r2(y, ridge)
    print(f"{len(y)} patients, five folds: R² of polynomial layers {r2(y, ours):.3f}, of ridge regression {of_ridge:.3f}")
    if path:
        draw(y, ours, path)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:2]), *sys.argv[2:3])
