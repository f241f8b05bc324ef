"""Classifying digits with deep polynomial chaos
=============================================

Handwritten digits are classified by polynomials of polynomials, each orthonormal over its own inputs.

::

    python examples/cheb/deep_chaos.py [NETWORKS] [PICTURE]

1797 digits of 8 x 8 pixels (included in scikit-learn), with their first principal components as inputs. One layer is a sum of polynomials
of a single input each, orthonormal over the samples of that input (arbitrary polynomial chaos), so it has no interactions between inputs.
Two layers have interactions: the polynomials of the second are orthonormal over the outputs of the first. These outputs change during
training, so the polynomials are recomputed from time to time, and the weights are converted exactly, because both sets span the same
functions (deep arbitrary polynomial chaos, Oladyshkin et al., Neural Networks 166 (2023) 85). There is no other activation function. One
layer with products of the polynomials of two inputs (``product_layer``, the nodes of the network in that paper) is a quadratic polynomial.
The methods compared on unseen digits are logistic regression, one layer without and with products, two layers, and two layers with Hermite
polynomials, as if all inputs were normally distributed. Gradients come from ``poly_layer_vjp`` and ``product_layer_vjp``, and the optimiser
comes from SciPy. Needs scikit-learn (pip install scikit-learn) and, for the picture, matplotlib.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
from scipy.optimize import minimize

from quatrefoil.cheb import orthopoly, poly_layer, poly_layer_vjp, product_layer, product_layer_vjp

INPUTS, HIDDEN, CLASSES, DEGREE, DECAY, SEEN = 20, 24, 10, 2, 1e-3, 1200
STEPS, REBUILT = 120, 40  # steps of the optimiser, in total and between new polynomials


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(components, the first with variance 1 over the training digits; labels; pixels), shuffled."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("this needs scikit-learn: pip install scikit-learn") from error

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pixels, labels = pixels[order], labels[order]
    centred = pixels - pixels[:SEEN].mean(axis=0)
    _, s, Vt = np.linalg.svd(centred[:SEEN], full_matrices=False)
    return centred @ Vt[:INPUTS].T * (np.sqrt(SEEN) / s[0]), labels, pixels


def recurrences(X: np.ndarray, own: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(a, b), each (columns, DEGREE + 1): for the samples of every column, or for the normal distribution with their mean and variance."""
    mean, variance = X.mean(axis=0), X.var(axis=0)
    if own:
        bases = [orthopoly.from_samples(x, DEGREE) for x in np.ascontiguousarray(X.T)]
        a, b = np.stack([basis.a for basis in bases]), np.stack([basis.b for basis in bases])
    else:
        a, b = np.repeat(mean[:, None], DEGREE + 1, axis=1), variance[:, None] * np.arange(DEGREE + 1.0)
    b[:, 0] = 1.0
    return a, b


class Network:
    """Layers (a, b, W) with W (inputs, DEGREE + 1, outputs); or a single layer with ``products`` of two inputs, W (products, outputs).
    Polynomials of the first layer's inputs are computed from X."""

    def __init__(self, X: np.ndarray, sizes: tuple[int, ...], own: bool = True, seed: int = 0, products: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.own, self.layers, Z = own, [], X
        self.degrees = orthopoly.multi_indices(sizes[0], DEGREE) if products else None
        for i, (n, m) in enumerate(itertools.pairwise(sizes)):
            a, b = recurrences(Z, own)
            if i == 0 and not products:
                b[:, 0] = 1 / X.var(axis=0)  # scales polynomials like their inputs, so that DECAY damps inputs that vary little
            rows = (n, DEGREE + 1) if self.degrees is None else (len(self.degrees),)
            W = rng.standard_normal((*rows, m)) / np.sqrt(np.prod(rows))
            self.layers.append((a, b, W))
            Z = self.inputs(X)[-1]

    def inputs(self, X: np.ndarray) -> list[np.ndarray]:
        """The inputs of every layer, and the outputs of the last."""
        layer_inputs = [X]
        for a, b, W in self.layers:
            more = () if self.degrees is None else (self.degrees,)
            layer_inputs.append((product_layer if more else poly_layer)(layer_inputs[-1], W, a, b, *more))
        return layer_inputs

    def rebuild(self, X: np.ndarray) -> None:
        """For all layers but the first, recompute polynomials that are orthonormal over the current inputs, and convert the weights."""
        for i, Z in enumerate(self.inputs(X)[1:-1], start=1):
            a, b, W = self.layers[i]
            new_a, new_b = recurrences(Z, self.own)
            new_weights = [
                np.linalg.lstsq(orthopoly.Basis(new_a[j], new_b[j])(z), orthopoly.Basis(a[j], b[j])(z) @ W[j], rcond=None)[0]
                for j, z in enumerate(np.ascontiguousarray(Z.T))
            ]
            self.layers[i] = new_a, new_b, np.stack(new_weights)

    def loss(self, flat: np.ndarray, X: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean cross-entropy plus DECAY |W|², and its gradient with respect to all weights."""
        self.put(flat)
        outputs, rows = self.inputs(X), np.arange(len(X))
        scores = outputs[-1] - outputs[-1].max(axis=1, keepdims=True)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        grad = np.exp(log_p)
        grad[rows, labels] -= 1
        grad, grads = grad / len(X), []
        for (a, b, W), Z in zip(self.layers[::-1], outputs[-2::-1]):
            if self.degrees is None:
                grad, grad_W = poly_layer_vjp(Z, W, a, b, grad)
            else:
                grad, grad_W = product_layer_vjp(Z, W, a, b, grad, self.degrees)
            grads.append(grad_W.ravel())
        return float(DECAY * flat @ flat - log_p[rows, labels].mean()), np.concatenate(grads[::-1]) + 2 * DECAY * flat

    def get(self) -> np.ndarray:
        return np.concatenate([W.ravel() for _, _, W in self.layers])

    def put(self, flat: np.ndarray) -> None:
        parts = np.split(flat, np.cumsum([W.size for _, _, W in self.layers])[:-1])
        self.layers = [(a, b, part.reshape(W.shape)) for (a, b, W), part in zip(self.layers, parts)]

    def fit(self, X: np.ndarray, labels: np.ndarray, steps: int = STEPS) -> Network:
        for done in range(0, steps, REBUILT):
            options = {"maxiter": min(REBUILT, steps - done)}
            self.put(minimize(self.loss, self.get(), args=(X, labels), jac=True, method="L-BFGS-B", options=options).x)
            self.rebuild(X)
        return self


def predict(models: list[Network], X: np.ndarray) -> np.ndarray:
    """The joint prediction of all models."""
    return np.mean([model.inputs(X)[-1] for model in models], axis=0).argmax(axis=1)


def draw(models: list[Network], seen: np.ndarray, X: np.ndarray, pixels: np.ndarray, labels: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    predicted = predict(models, X)
    wrong = np.flatnonzero(predicted != labels)[:8]
    figure = plt.figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    ax, z = left.subplots(), np.sort(models[0].inputs(seen)[1][:, 0])
    a, b, _ = models[0].layers[1]
    ax.hist(z, bins=40, density=True, color="0.85")
    ax.plot(z, orthopoly.Basis(a[0], b[0])(z), label=[f"degree {k}" for k in range(DEGREE + 1)])
    ax.set(title="an output of the first layer, and its polynomials", ylim=(-3, 4))
    ax.legend()
    for axis, i in zip(right.subplots(2, 4).ravel(), wrong):
        axis.imshow(pixels[i].reshape(8, 8), cmap="gray_r")
        axis.set_title(f"{labels[i]}, classified as {predicted[i]}")
        axis.set_axis_off()
    figure.savefig(file, dpi=120)


def main(networks: int = 8, file: str | None = None) -> None:
    X, labels, pixels = digits()
    from sklearn.linear_model import LogisticRegression

    seen, unseen = slice(SEEN), slice(SEEN, None)
    print(f"{SEEN} training digits, {len(labels) - SEEN} unseen digits, {INPUTS} components; accuracy on unseen digits:")
    logistic = LogisticRegression(max_iter=1000).fit(X[seen], labels[seen])
    print(f"logistic regression      : {logistic.score(X[unseen], labels[unseen]):.2%}")
    deep = (INPUTS, HIDDEN, CLASSES)
    kinds = {
        "one layer": ((INPUTS, CLASSES), True, False),
        "one layer, products": ((INPUTS, CLASSES), True, True),
        "two layers, Hermite": (deep, False, False),
        "two layers": (deep, True, False),
    }
    for name, (sizes, own, products) in kinds.items():
        models = [Network(X[seen], sizes, own, seed, products).fit(X[seen], labels[seen]) for seed in range(networks)]
        alone = np.mean([np.mean(predict([model], X[unseen]) == labels[unseen]) for model in models])
        print(f"{name:25}: {alone:.2%}, ensemble of {networks} {np.mean(predict(models, X[unseen]) == labels[unseen]):.2%}")
    if file:
        draw(models, X[seen], X[unseen], pixels[unseen], labels[unseen], file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8, sys.argv[2] if len(sys.argv) > 2 else None)
