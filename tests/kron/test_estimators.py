"""scikit-learn's own estimator checks, as far as they apply."""

import functools
import pickle
import warnings

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil.kron import GridGP, SlimKL, rbf

pytest.importorskip("sklearn", minversion="1.6")
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags

pytestmark = pytest.mark.filterwarnings("ignore:.*stopped after max_iter:RuntimeWarning", "ignore:.*did not converge:RuntimeWarning")


class OneAxis(GridGP):
    """A GridGP of one axis whose points are the rows of a sample matrix."""

    def fit(self, X, y):
        return super().fit([X], y)

    def predict(self, X, return_std=False):
        return super().predict([X], return_std)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation, tags.input_tags.two_d_array = False, True
        return tags


MODELS = {
    "SlimKL": SlimKL(means=np.linspace(0, 0.2, 3), std=0.05, noise=0.1, max_iter=3),
    "GridGP": OneAxis([functools.partial(rbf, scale=1.0)], noise=0.1, optimizer=None),
}
# These checks expect other errors. Points may be (n,) here, and messages have the form that all functions of this library use: argument,
# its value, and what is expected.
NOT_APPLICABLE = {
    "check_n_features_in_after_fitting", "check_complex_data", "check_dtype_object", "check_estimators_empty_data_messages",
    "check_estimators_nan_inf", "check_estimator_sparse_tag", "check_estimator_sparse_array", "check_estimator_sparse_matrix",
    "check_fit1d", "check_fit2d_predict1d", "check_requires_y_none", "check_supervised_y_2d", "check_supervised_y_no_nan",
    "check_positive_only_tag_during_fit", "check_regressor_data_not_an_array", "check_array_api_input",
}  # fmt: skip


def applicable_checks():
    for name, model in MODELS.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not inherit from `sklearn.base.BaseEstimator`")  # it has the same methods
            checks = list(estimator_checks.estimator_checks_generator(model, legacy=True))
        for i, (_, check) in enumerate(checks):
            title = check.func.__name__
            if title not in NOT_APPLICABLE:
                yield pytest.param(name, check, id=f"{name}-{title}-{i}")


@pytest.mark.parametrize(("name", "check"), list(applicable_checks()))
def test_check(name, check):
    check(MODELS[name])


def test_tags():
    tags = get_tags(SlimKL(means=np.zeros(1), noise=1.0))
    assert (tags.estimator_type, tags.no_validation, tags.input_tags.two_d_array) == ("regressor", False, True)
    tags = get_tags(GridGP([rbf], noise=1.0))
    assert (tags.estimator_type, tags.no_validation, tags.input_tags.two_d_array) == ("regressor", True, False)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_deviations_reuse_the_factorisation(rng, monkeypatch, missing):
    x = [np.linspace(0, 1, 8), np.linspace(0, 1, 9)]
    gp = GridGP([functools.partial(rbf, scale=0.3)] * 2, noise=0.1, optimizer=None)
    gp.fit(x, rng.standard_normal((8, 9)), mask=rng.random((8, 9)) >= missing)
    fresh = pickle.loads(pickle.dumps(gp))

    def never(*inputs, **options):
        raise AssertionError("it factorises again")

    expected = fresh.predict(x, return_std=True)
    monkeypatch.setattr(np.linalg, "eigh", never)
    monkeypatch.setattr("quatrefoil.kron.gp.missing.cholesky", never)
    for a, b in zip(expected, gp.predict(x, return_std=True)):
        np.testing.assert_array_equal(a, b)


def points_of_a_grid(rng, missing=0.0):
    """Points (P, 2) of a grid in random order, and values of a smooth function with little noise."""
    x, y = np.linspace(0, 2, 9), np.linspace(-1, 1, 8)
    X = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    X = X[rng.permutation(len(X))[: round(len(X) * (1 - missing))]]
    return X, np.sin(2 * X[:, 0]) * np.cos(X[:, 1]) + 0.01 * rng.standard_normal(len(X))


KERNELS = [functools.partial(rbf, scale=1.0)] * 2


def test_grid_search_of_a_pipeline(rng):
    X, z = points_of_a_grid(rng, 0.1)
    pipeline = make_pipeline(StandardScaler(), GridGP(KERNELS, noise=1e-3, variance=1.0, optimizer=None))
    candidates = {"gridgp__noise": [1e-3, 1e3], "gridgp__kernels": [KERNELS, [functools.partial(rbf, scale=100.0)] * 2]}
    search = GridSearchCV(pipeline, candidates, cv=3, error_score="raise").fit(X, z)
    assert search.best_params_["gridgp__noise"] == 1e-3
    assert [k.keywords for k in search.best_params_["gridgp__kernels"]] == [k.keywords for k in KERNELS]
    assert search.best_score_ > 0.8
    mean, std = search.predict(X), search.best_estimator_.predict(X, return_std=True)[1]
    assert mean.shape == std.shape == z.shape
    assert np.sqrt(np.mean((mean - z) ** 2)) < 0.2
    assert not hasattr(pipeline[-1], "theta_")  # GridSearchCV fits clones


def test_points_outside_a_grid_raise(rng):
    X, z = points_of_a_grid(rng)
    fit, far, missing = GridGP(KERNELS, noise=1e-3, optimizer=None).fit, rng.standard_normal((300, 2)), X.copy()
    missing[3, 1] = np.nan
    check_rejected([
        (lambda: fit(np.vstack([X, X[:1]]), np.append(z, 0.0)), ValueError, r"X\[0\] and X\[72\] are the same point"),
        (lambda: fit(far, far[:, 0]), ValueError, "300 points span a grid of 300 x 300 cells"),
        (lambda: fit(X[:, :1].copy(), z), ValueError, r"X\[\d+\] and X\[\d+\] are the same point"),
        (lambda: fit(np.concatenate([X, X], axis=1), z), ValueError, "got 2 kernels for 4 axes"),
        (lambda: fit(X, z[1:]), ValueError, r"y has shape \(71,\), expected \(72,\)"),
        (lambda: fit(missing, z), ValueError, r"X\[3, 1\] is nan"),
        (lambda: fit(X, z, np.ones(72, bool)), ValueError, "got a mask for points"),
        (lambda: fit(X + 0j, z), TypeError, "X has dtype complex128"),
    ])  # fmt: skip
