"""``GridGP`` with defaults: no arguments, tables of any type, units, holes and means."""

import datetime
import functools
import pickle
import warnings

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from quatrefoil.kron import GridGP
from quatrefoil.kron.models.blas import _libraries, one_thread

X, T = np.linspace(0, 1, 14), np.linspace(0, 3, 12)
TRUTH = np.sin(6 * X)[:, None] * np.cos(2 * T)
RNG = np.random.default_rng(0)
NOISE, SEEN = RNG.standard_normal(TRUTH.shape), RNG.random(TRUTH.shape) < 0.75
TABLE = TRUTH + 0.1 * NOISE
HOLES = np.where(SEEN, TABLE, np.nan)
KERNELS = [functools.partial(qf.kron.matern52, scale=s) for s in (0.3, 1.0)]
FIXED = {"kernels": KERNELS, "noise": 0.01, "variance": 0.4, "optimizer": None}

TRUTHS = {
    "a level": (lambda: 15 + TRUTH, 0.1, 1 / 3),
    "large numbers": (lambda: 1e6 * TRUTH, 1e5, 0.75),
    "no noise": (lambda: TRUTH, 0.0, 0.75),
    "a slope": (lambda: 3 * X[:, None] - T, 0.1, 0.75),
    "one axis alone": (lambda: np.sin(6 * X)[:, None] + 0 * T, 0.1, 0.75),
    "steps": (lambda: (X[:, None] > 0.5) * 1.0 + (T > 1), 0.05, 0.75),
    "waves": (lambda: np.sin(12 * X)[:, None] * np.cos(4 * T), 0.1, 0.9),
    "integers": (lambda: np.round(100 * TRUTH), 0.0, 0.75),
}


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.filterwarnings("ignore:GridGP.fit. the (search ended with|optimiser did not):RuntimeWarning")
def test_no_arguments(name):
    """The error in the holes is small, and agrees with the predicted variance."""
    make, noise, share = TRUTHS[name]
    truth = make()
    Y = np.where(np.random.default_rng(1).random(truth.shape) < share, truth + noise * NOISE, np.nan)
    mean, std = GridGP().fit([X, T], Y).predict([X, T], return_std=True)
    holes = np.isnan(Y)
    error = np.abs(mean - truth)[holes]
    assert np.sqrt(np.mean(error**2)) < 0.5 * truth.std()
    assert np.mean(error <= 2 * std[holes] + 1e-4 * truth.std()) > 0.8


def test_warnings_about_parameters_at_bounds():
    with pytest.warns(RuntimeWarning, match=r"GridGP.fit: the search ended with noise at its lower bound, [\d.e-]+: the data hardly"):
        GridGP(qf.kron.rbf).fit([X, T], TRUTH)
    with pytest.warns(RuntimeWarning, match=r"with .*scale of kernels\[1\] at its upper bound, 1e\+05"):
        GridGP([KERNELS[0], functools.partial(qf.kron.rbf, scale=1.0)]).fit([X, T], np.repeat(TABLE[:, :1], 12, axis=1))


def test_array_likes():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    expected = GridGP(**FIXED).fit([X, T], TABLE, SEEN).predict([X, T])
    frame, array = pandas.DataFrame(HOLES, index=X, columns=T), xarray.DataArray(HOLES, coords=[("x", X), ("t", T)])
    for axes, Y, mask in (
        ([X, T], HOLES, None),
        ([X, T], HOLES, np.ones_like(SEEN)),
        ([X.tolist(), tuple(T)], TABLE.tolist(), SEEN.tolist()),
        ((X, T), np.ma.masked_array(TABLE, ~SEEN), None),
        ([frame.index, frame.columns], frame, None),
        ([pandas.Series(X), pandas.Series(T)], frame, pandas.DataFrame(SEEN)),
        ([array.x, array.t], array, None),
    ):
        np.testing.assert_array_equal(GridGP(**FIXED).fit(axes, Y, mask).predict(axes), expected)
    points = pandas.DataFrame({"x": np.repeat(X, 12), "t": np.tile(T, 14)})
    gp = GridGP(**FIXED).fit(points[SEEN.ravel()], pandas.Series(TABLE[SEEN]))
    np.testing.assert_allclose(gp.predict(points), expected.reshape(-1), rtol=1e-9)
    for one in ([0, 1, 2, 3], np.arange(4), pandas.Index(range(4))):
        line = GridGP(KERNELS[1], noise=0.1, optimizer=None).fit(one, [1, 2, 4, 8])
        assert line.predict(one).shape == line.predict([one]).shape == (4,)
    with pytest.raises(TypeError, match="Y has dtype object"):
        GridGP().fit([X, T], frame.astype(object))


def test_known_means():
    slope = 5 + 3 * X[:, None] - 2 * T
    for mean, at in (("zero", 0), (7.5, 7.5), (lambda x, t: 5 + 3 * x - 2 * t, slope)):
        gp = GridGP(**FIXED, mean=mean).fit([X, T], TABLE + slope, SEEN)
        bare = GridGP(**FIXED, mean="zero").fit([X, T], TABLE + slope - at, SEEN)
        np.testing.assert_allclose(gp.predict([X, T]), bare.predict([X, T]) + at, rtol=0, atol=1e-10)
        np.testing.assert_allclose(gp.sample([X, T], rng=0), bare.sample([X, T], rng=0) + at, rtol=0, atol=1e-10)
        np.testing.assert_allclose(gp.predict([X[:2], T[:1]]).ravel(), gp.predict(np.array([[X[0], T[0]], [X[1], T[0]]])), rtol=1e-9)


@pytest.mark.parametrize("mean", ["constant", "linear"])
def test_samples_with_estimated_means(mean):
    """``attack_gridgp`` compares likelihoods and predictions with dense regression."""
    gp, new = GridGP(**FIXED, mean=mean).fit([X, T], 5 + TABLE, SEEN), [np.array([0.1, 0.33, 4.0]), np.array([0.2, 9.0])]
    expected, std = gp.predict(new, return_std=True)
    points = np.stack([np.repeat(new[0], 2), np.tile(new[1], 3)], axis=1)
    np.testing.assert_allclose(gp.predict(points, return_std=True), [expected.ravel(), std.ravel()], rtol=1e-7)
    for samples in (gp.sample(new, 4000, rng=1).reshape(4000, -1), gp.sample(points, 4000, rng=2)):
        assert np.abs((samples.mean(axis=0) - expected.ravel()) / std.ravel()).max() < 6 / 4000**0.5
        assert np.abs(samples.var(axis=0) / std.ravel() ** 2 - 1).max() < 6 * (2 / 4000) ** 0.5
    assert np.abs(gp.predict(new, "samples", samples=4000, rng=3)[1] / std - 1).max() < 6 * (1 / 8000) ** 0.5


def test_a_linear_mean_extrapolates():
    far = GridGP(**FIXED, mean="linear").fit([X, T], 5 + 3 * X[:, None] - 2 * T).predict(np.array([[3.0, 9.0]]))
    np.testing.assert_allclose(far, 5 + 9 - 18, rtol=1e-9)


def test_kernels():
    one = GridGP(qf.kron.matern52).fit([X, T], TABLE)
    for kernels in (None, [qf.kron.matern52] * 2, [None, qf.kron.matern52], "matern52", ["matern52", None]):
        np.testing.assert_array_equal(GridGP(kernels).fit([X, T], TABLE).theta_, one.theta_)
    start = GridGP(optimizer=None).fit([X, T], TABLE)
    assert [k.keywords["scale"] for k in start.kernels_] == pytest.approx([0.3, 0.9])
    wide = GridGP(optimizer=None).fit([np.stack([X, 5 * X], axis=1), [1.0, 1.0, 1.0]], np.ones((14, 3)))
    assert [k.keywords["scale"].tolist() for k in wide.kernels_] == [[0.3, 1.5], 0.3]


def test_many_cells_of_a_factor_are_estimated(monkeypatch):
    monkeypatch.setattr("quatrefoil.kron.gp.covariance.FEW", 0)
    exact, lanczos = (GridGP(logdet=how, rng=0).fit([X, T], HOLES).theta_ for how in (None, "lanczos"))
    assert not np.array_equal(exact, lanczos)
    monkeypatch.setattr("quatrefoil.kron.models.gridgp._MAX_EXACT", 20)
    np.testing.assert_array_equal(GridGP(rng=0).fit([X, T], HOLES).theta_, lanczos)


def test_blas_threads_in_a_fit():
    libraries = _libraries()
    before = [get() for get, _ in libraries]
    seen = []

    def search(objective, theta, bounds):
        seen.extend(get() for get, _ in libraries)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        GridGP(optimizer=search).fit([X, T], TABLE)
    assert seen == [1] * len(libraries)
    with one_thread(5000):
        assert [get() for get, _ in libraries] == before
    assert [get() for get, _ in libraries] == before


def test_tables_with_labels():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    days = pandas.date_range("2024-02-20", periods=12, name="day")
    expected = GridGP(**FIXED).fit([X, T], HOLES)
    mean, std = expected.predict(return_std=True)
    np.testing.assert_array_equal(mean, expected.predict([X, T]))
    frame = pandas.DataFrame(HOLES, index=pandas.Index(X, name="x"), columns=pandas.Index(T, name="t"))
    array, series = xarray.DataArray(HOLES, coords={"x": X, "t": T}), frame.stack().dropna().sample(frac=1, random_state=0)
    for table in (frame, array, series):
        gp = GridGP(**FIXED).fit(table)
        for result, numbers in zip(gp.predict(return_std=True), (mean, std)):
            assert type(result) is type(table)
            np.testing.assert_allclose(np.asarray(result).reshape(14, 12), numbers, rtol=1e-7)
        part = gp.predict([X[:2], T[:3]])
        assert type(part) is type(table)
        assert part.size == 6
        assert gp.predict(np.array([[0.1, 0.2]])).shape == (1,)
    assert (part.index.names, list(part.index[1])) == (["x", "t"], [X[0], T[1]])
    assert GridGP(**FIXED).fit(array).predict(array).dims == ("x", "t")
    assert gp.score([X, T], series.reindex(gp.predict().index)) == pytest.approx(expected.score([X, T], TABLE, SEEN))
    assert expected.score([X, T], HOLES) == expected.score([X, T], TABLE, SEEN)

    dated = GridGP(KERNELS[0], noise=0.1, optimizer=None).fit(pandas.Series(TRUTH[3], index=days))
    since = GridGP(KERNELS[0], noise=0.1, optimizer=None).fit(np.arange(12), TRUTH[3])
    np.testing.assert_allclose(dated.predict(["2024-03-01", "2024-03-01T12"]), since.predict([10, 10.5]), rtol=1e-6)


def test_a_dataset_by_coordinates():
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(HOLES, coords={"x": X, "t": T})
    gp, x = GridGP(**FIXED).fit(array), np.array([0.05, 0.3, 0.4])
    mean, std = gp.predict([x, T], return_std=True)
    result = gp.predict(coords={"x": x}, return_std=True)
    xarray.testing.assert_identical(result, xarray.Dataset({"mean": mean, "std": std}))
    slopes = gp.predict([[0.3], T], derivative="t")
    xarray.testing.assert_identical(gp.predict(coords={"x": 0.3}, derivative="t")["mean"], slopes.rename("mean"))
    assert (list(gp.predict(coords={})), gp.predict(coords={}).sizes) == (["mean"], {"x": 14, "t": 12})
    check_rejected([
        (lambda: gp.predict([x, T], coords={"x": x}), ValueError, "got both X and coords"),
        (lambda: gp.predict(coords={"y": x}), ValueError, "unknown axis 'y'; expected 'x', 't'"),
        (lambda: gp.predict(coords=[x, T]), TypeError, "coords is a list, expected a dict of axes by name, {'x': values}"),
        (lambda: GridGP(**FIXED).fit([X, T], TABLE).predict(coords={"x": x}), TypeError, "fit to a DataArray; pass the axes as a list X"),
    ])  # fmt: skip


def test_common_first_calls(rng):
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(TABLE, coords={"x": X, "t": T}, dims=("x", "t"))
    gp = GridGP(**FIXED).fit(array)
    samples = gp.sample(size=3, rng=1)
    assert (samples.dims, samples.shape) == (("sample", "x", "t"), (3, 14, 12))
    np.testing.assert_array_equal(samples, GridGP(**FIXED).fit([X, T], TABLE).sample(size=3, rng=1))
    np.testing.assert_array_equal(gp.predict([(0.5, 0.6), (1.0, 2.0)]), gp.predict([[0.5, 0.6], [1.0, 2.0]]))
    by_name = GridGP(**FIXED | {"kernels": {"t": KERNELS[1], "x": KERNELS[0]}}).fit(array)
    np.testing.assert_array_equal(by_name.predict(), gp.predict())
    with pytest.warns(RuntimeWarning, match="Y equals its mean everywhere, so there is nothing to learn"):
        GridGP().fit([X, T], np.full((14, 12), 3.0))
    check_rejected([
        (lambda: gp.sample(3), TypeError, "pass the number of samples as size=3"),
        (lambda: gp.predict(x=X, t=T), TypeError, r"pass axes by name as a dict: predict\({'x'"),
        (lambda: gp.length_scales_, AttributeError, r"use kernels_\[0\].keywords\['scale'\]"),
        (lambda: GridGP().theta_, AttributeError, "GridGP has no attribute 'theta_'; call fit first"),
        (lambda: GridGP(qf.kron.rbf(X, scale=0.3)).fit(array), TypeError, "a numpy array of float64, expected callables"),
        (lambda: GridGP({"x": "rbf"}).fit(array), ValueError, "a dict with keys 'x', expected one per axis, 'x', 't'"),
        (lambda: GridGP({"x": "rbf"}).fit([X, T], TABLE), ValueError, "only axes of a table have names"),
        (lambda: GridGP().fit(array.to_dataset(name="heat")), TypeError, r"expected one of its variables: ds\['heat'\]"),
        (lambda: qf.kron.gp_nll(np.eye(3), np.eye(4), np.ones(12), 0.1), TypeError, r"pass factors as one list: gp_nll\(\[K_1, K_2\]"),
    ])  # fmt: skip


def test_dates():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    days = pandas.date_range("2026-01-01", periods=14, name="day")
    frame = pandas.DataFrame(HOLES, index=days, columns=pandas.Index(T, name="t"))
    query, new = days[:2], [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]
    points, gp = pandas.DataFrame({"t": T[:2], "day": query}), GridGP(**FIXED).fit(frame)
    grid, scattered = gp.predict([query, T]), gp.predict(points)
    np.testing.assert_allclose(grid.to_numpy(), gp.predict().to_numpy()[:2], rtol=1e-9)
    np.testing.assert_allclose(scattered, grid.to_numpy().diagonal(), rtol=1e-9)
    field, line = xarray.DataArray(frame), GridGP(KERNELS[0], noise=0.1, optimizer=None).fit(frame[T[0]])
    by_zone, by_period = GridGP(**FIXED).fit(frame.tz_localize("Asia/Tokyo")), GridGP(**FIXED).fit(frame.to_period("D"))
    by_name = GridGP(**FIXED).fit(field)
    same = (
        gp.predict(frame[:2]), gp.predict({"day": query}), gp.predict([["2026-01-01", "2026-01-02"], T]), gp.predict([new, T]),
        GridGP(**FIXED).fit(frame.set_axis(list(map(str, days.date)))).predict([query, T]),
        GridGP(**FIXED).fit(frame.set_axis(days.date)).predict([query, T]),
        GridGP(**FIXED).fit([days, T], HOLES).predict([np.array(new, object), T]),
        GridGP(**FIXED).fit(frame.set_axis(list(map(str, T)), axis=1)).predict([query, T]),
        by_zone.predict([query.tz_localize("Asia/Tokyo"), T]), by_zone.predict([(query - pandas.Timedelta("9h")).tz_localize("UTC"), T]),
        by_period.predict([query.to_period("D"), T]), by_period.predict()[:2], by_zone.predict()[:2],
        by_name.predict({"t": T, "day": query}), by_name.predict(field[:2].T),
    )  # fmt: skip
    for result in same:
        np.testing.assert_allclose(np.asarray(result), grid.to_numpy(), rtol=1e-9)
    pairs = points[["day", "t"]]
    for same in (pairs, np.array(pairs, object), points.set_index(["day", "t"]).index):
        np.testing.assert_allclose(gp.predict(same), scattered, rtol=1e-9)
    for inputs in (query, pandas.Series(query), new, np.array(query), query.to_list()):
        assert line.predict(inputs).index.equals(query)
    for result in (gp.predict(["2026-01-01", T]), gp.predict({"day": "2026-01-01"}), gp.predict(["2026-01-01", T[0]])):
        np.testing.assert_allclose(result.to_numpy(), grid.to_numpy()[:1, : result.shape[1]], rtol=1e-9)
    single = GridGP(**FIXED).fit(frame.stack().to_frame("value"))
    np.testing.assert_array_equal(single.predict(), GridGP(**FIXED).fit(frame.stack()).predict())
    scores = gp.score(frame), gp.score([days, T], frame), by_name.score(field.T), GridGP(**FIXED).fit(frame.stack()).score(frame.stack())
    np.testing.assert_allclose(scores, scores[0], rtol=1e-9)
    check_rejected([
        (lambda: gp.predict(np.array([[3.0, 0.5]])), TypeError, r"X\[:, 0\] has numbers, but fit had dates; pass dates such as np"),
        (lambda: gp.predict([[3, 4], T]), TypeError, r"axes\[0\] has numbers, but fit had dates"),
        (lambda: gp.predict([query, query]), TypeError, r"axes\[1\] has dates, but fit had numbers; pass numbers"),
        (lambda: gp.predict([query - query[0], T]), TypeError, r"axes\[0\] has durations, but fit had dates"),
        (lambda: line.predict([3.0, 4.0]), TypeError, r"axes\[0\] has numbers, but fit had dates"),
        (lambda: gp.predict(query), ValueError, r"or a list of axes, \[day, t\]"),
        (lambda: GridGP(**FIXED).fit(pandas.DataFrame(TABLE)).predict({"t": T}), ValueError, "the table have no names; use df.rename_axis"),
        (lambda: gp.predict(query, T), TypeError, r"pass axes as one list: predict\(\[day, t\]\)"),
        (lambda: gp.predict({"time": query}), ValueError, "unknown axis 'time'; expected 'day', 't'"),
        (lambda: GridGP().fit(frame.set_axis([f"s{k}" for k in range(14)])), TypeError,
         r"'s0' is neither a number nor an ISO date; "
         r"use positions instead of names, as in df.set_axis\(range\(14\), axis=0\); for records"),
        (lambda: GridGP().fit(frame.set_axis([f"s{k}" for k in range(12)], axis=1)), TypeError, r"set_axis\(range\(12\), axis=1\)"),
        (lambda: GridGP().fit(points), TypeError, r"columns, expected numbers or dates: 't' is .*df.set_index"),
        (lambda: GridGP().fit([np.array(["2024-01-01", "NaT"], "M8[D]"), T], TABLE[:2]), ValueError, r"axes\[0\]\[1\] is nan"),
        (lambda: GridGP().fit([list("ab"), T], TABLE[:2]), TypeError, r"axes\[0\], expected numbers or dates: 'a' is .*; convert it"),
    ])  # fmt: skip


def test_restarts_leave_a_flat_region():
    """Restarts cover all of the bounds. The initial scale is far below the spacing, where the gradient vanishes."""
    x = np.linspace(0, 1, 25)
    gp = functools.partial(GridGP, [functools.partial(qf.kron.rbf, scale=1e-4)], noise=0.01, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        alone, best = (gp(n_restarts_optimizer=n).fit([x], np.sin(8 * x)).log_marginal_likelihood_value_ for n in (0, 20))
    assert best > alone + 10


@pytest.mark.parametrize("name", ["matern12", "matern32", "rational_quadratic", "periodic"])
def test_our_kernels_are_learnt(name):
    numbers = {"scale": 0.5} | {"rational_quadratic": {"alpha": 1.0}, "periodic": {"period": 0.8}}.get(name, {})
    axes = np.linspace(0, 3, 60), np.linspace(0, 1, 40)
    kernels = [functools.partial(getattr(qf.kron, name), **numbers), functools.partial(qf.kron.matern32, scale=0.3)]
    table = qf.kron.gp_sample([k(x) for k, x in zip(kernels, axes)], rng=0)[0].reshape(60, 40)
    table += 0.05 * np.random.default_rng(1).standard_normal(table.shape)
    far = {n: v * (1.002 if n == "period" else 1.1) for n, v in numbers.items()}  # the likelihood of a period has a sharp peak
    start = [functools.partial(getattr(qf.kron, name), **far), kernels[1]]
    gp = GridGP(start, noise=1e-3, variance=1.0, mean="zero").fit(axes, table)
    learnt = gp.kernels_[0].keywords
    assert all(abs(np.log(learnt[n] / v)) < (1.0 if n == "alpha" else 0.4) for n, v in numbers.items()), learnt
    assert gp.log_marginal_likelihood_value_ > gp.log_marginal_likelihood(np.log([1.0, *far.values(), 0.3, 1e-3]))


def test_progress():
    reports = []
    gp = GridGP().fit([X, T], TABLE, progress=lambda count, value: reports.append((count, value)))
    assert [count for count, _ in reports] == list(range(1, len(reports) + 1))
    assert max(value for _, value in reports) == pytest.approx(gp.log_marginal_likelihood_value_, rel=1e-6)
    assert len(reports) > 5
    pickle.loads(pickle.dumps(gp))
    with pytest.raises(TypeError, match="progress is 3, expected True or a callable"):
        GridGP().fit([X, T], TABLE, progress=3)
