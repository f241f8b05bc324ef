"""Walks on executors give the same bits as a single call for every split, and report errors."""

import importlib.util
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.models import chunk, draw, scaleout
from wos.domains import DOMAINS, SQUARE, cfunc, problem
from wos.walk import oracle
from wos.walk.oracle import same


def g(Y):
    return np.sin(Y[:, 0]) + np.cos(2 * Y[:, 1])


def dies(Y):
    os._exit(1)


def raises(Y):
    raise KeyError("not there")


class Pickled(Executor):
    """Runs each task at once in this process, after pickling and unpickling it. Returns the results in reverse order."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.tasks.append(len(pickle.dumps(fn)))
        future.set_result(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(fn))(*args, **kwargs))))
        return future


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(3) as pool:
        yield pool


RULES = {"walks": {"walks": 26}, "tolerance": {"walks": 8, "atol": 0.1, "max_walks": 26}}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.filterwarnings("ignore:solve.*points? lies?")
def test_every_cut_gives_the_same_bits(name, rule, best_backend, rng, monkeypatch):
    boundary, X, options = problem(name, rng, outside=True)
    run = {**options, "gradient": name in ("fourier", "walls", "media"), "epsilon": 1e-2, "walk_offset": 6, **RULES[rule]}
    whole = wos.solve(boundary, X, **run)
    more = whole.resume(10)
    tasks, cuts = set(), [(2**20, 64), (4, 64), (16, 2), (64, 1), (128, 3)]
    for walks, instances in cuts[1:3] if name in ("medium", "field of a function") else cuts:  # functions are called at each step
        monkeypatch.setattr(draw, "PART_WALKS", walks)
        for rounds in ("ROUND_WALKS", "POINTS_HERE"):
            monkeypatch.setattr(draw, rounds, walks)
        monkeypatch.setattr(chunk, "MAX_INSTANCES", instances)
        executor = Pickled()
        same(wos.solve(boundary, X, progress=lambda *at: None, **run), whole)
        same(wos.solve(boundary, X, executor=executor, **run), whole)
        same(whole.resume(10, progress=lambda *at: None), more)
        same(whole.resume(10, executor=executor), more)
        tasks.add(len(executor.tasks))
    assert len(tasks) > 1


@pytest.mark.parametrize("name", ["polygons", "functions", "walls of many", "medium"])
def test_threads_and_processes(name, threads, processes, rng, monkeypatch):
    boundary, X, options = problem(name, rng)
    for size in ("PART_WALKS", "ROUND_WALKS"):
        monkeypatch.setattr(draw, size, 64)
    for rule in RULES.values():
        run = {**options, **rule}
        whole = wos.solve(boundary, X, **run)
        for executor in (threads, processes):
            result = wos.solve(boundary, X, executor=executor, **run)
            same(result, whole)
            same(result.resume(18, executor=executor), whole.resume(18))
            same(result.resume(18, atol=1e-2, max_walks=90, executor=executor), whole.resume(18, atol=1e-2, max_walks=90))


def test_compiled_functions_are_sent_to_workers(processes):
    f = pytest.importorskip("numba").njit(lambda Y: Y[:, 0] * Y[:, 1])
    same(wos.solve(DISC, X, dirichlet=f, executor=processes, rng=1), wos.solve(DISC, X, dirichlet=f, rng=1))
    with pytest.raises(TypeError, match="solve: source cannot be pickled for the workers of ProcessPoolExecutor"):
        wos.solve(DISC, X, dirichlet=1.0, source=cfunc(f), executor=processes, rng=1)


@pytest.mark.torch
def test_tensors(threads, processes, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(draw, "PART_WALKS", 64)
    points, square = torch.rand(5, 11, 2, dtype=torch.float64) * 0.5, wos.Polygon(2 * torch.from_numpy(SQUARE) - 1)
    c, run = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), {"rng": 3, "walks": 30}
    for data in (wos.Fourier(c), [wos.Fourier(c), g, 1.0, 2.0, g]):
        for executor in (threads, processes):
            result = wos.solve(square, points, dirichlet=data, executor=executor, **run)
            assert isinstance(result.value, torch.Tensor)
            same(result, wos.solve(square, points, dirichlet=data, **run))
    leaf, graded, wall = points.clone().requires_grad_(), wos.Fourier(c.requires_grad_()), torch.tensor([True, False, False, False])
    for name, at, options in (
        ("dirichlet", points, {"dirichlet": graded}), ("neumann", points, {"neumann": (wall, graded)}), ("points", leaf, {}),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match=f"solve: {name} requires grad"):
            wos.solve(square, at, executor=threads, **{"dirichlet": 1.0, **options}, **run)


X = np.array([[0.1, 0.2], [0.3, 0.3]])
DISC = wos.Ball([0.0, 0.0], 1.0)


def test_what_cannot_be_sent_is_rejected_first(threads, processes, monkeypatch):
    lock = threading.Lock()
    ring, locked = wos.Polygon(oracle.star(20)), lambda Y: Y[:, 0] + lock.locked()
    for name, value in (("dirichlet", locked), ("source", locked), ("neumann", (np.arange(20) < 9, locked))):
        executor, options = Pickled(), {"dirichlet": 1.0, name: value}
        with pytest.raises(TypeError, match=f"solve: {name} cannot be pickled for the workers of Pickled"):
            wos.solve(ring, X, executor=executor, rng=1, **options)
        assert executor.tasks == []
        same(wos.solve(ring, X, executor=threads, rng=1, **options), wos.solve(ring, X, rng=1, **options))
    square = {"dirichlet": lambda Y: Y[:, 0] ** 2, "rng": 1}
    if importlib.util.find_spec("cloudpickle"):
        same(wos.solve(DISC, X, executor=processes, **square), wos.solve(DISC, X, **square))
    find = importlib.util.find_spec
    monkeypatch.setattr(scaleout.importlib.util, "find_spec", lambda name: None if name == "cloudpickle" else find(name))
    with pytest.raises(TypeError, match="lambdas and closures need cloudpickle to be installed"):
        wos.solve(DISC, X, executor=Pickled(), **square)


def test_workers_use_the_unit_of_a_diffusion(threads):
    """A diffusion of any size has a separate unit. Workers divide its function and the source's by it."""
    for source in (np.array(1e30), lambda Y: 1e30 + 0 * Y[:, 0]):
        run = {"dirichlet": 1.0, "diffusion": lambda Y: 1e30 * (2 + Y[:, 0]), "source": source, "walks": 64, "rng": 1}
        same(wos.solve(DISC, X, executor=threads, **run), wos.solve(DISC, X, **run))


def test_a_task_that_raises_says_which_and_a_worker_that_dies_is_an_error(threads, processes):
    for executor in (threads, processes):
        with pytest.raises(KeyError, match="not there") as caught:
            wos.solve(DISC, X, dirichlet=raises, executor=executor, rng=1)
        assert "in a task of points 0 to 1 of instances 0 to 0, walks from 0 on" in caught.value.__notes__
    same(wos.solve(DISC, X, dirichlet=g, executor=processes, rng=1), wos.solve(DISC, X, dirichlet=g, rng=1))
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pool, pytest.raises(RuntimeError, match="solve: a worker of the executor died"):
        wos.solve(DISC, X, dirichlet=dies, executor=pool, rng=1)


def test_workers_cache_shared_problems():
    known = scaleout._known
    known.clear()
    shared = [scaleout.Shared(wos.Polygon((1 + k) * oracle.star(20)), (None, None), 0, np.dtype(float)) for k in range(6)]
    copies = [pickle.loads(pickle.dumps(each)) for each in shared]
    assert pickle.loads(pickle.dumps(shared[-1])) is copies[-1]
    assert pickle.loads(pickle.dumps(copies[-1])) is copies[-1]
    assert copies[-1].boundary._memo_of("numpy") is copies[-1].boundary._memo_of("numpy")
    assert len(known) == scaleout._CACHED
    assert pickle.loads(pickle.dumps(shared[0])) is not copies[0]


def test_started_tasks_end_early_if_the_caller_stops(monkeypatch):
    """The point on the boundary finishes at once; the other would walk for a minute, but the call does not wait for it."""
    monkeypatch.setattr(draw, "ROUND_WALKS", 1)
    calls = []

    def f(Y):
        calls.append(len(Y))
        return Y[:, 0]

    def stop(walks, left):
        assert left == 0.5
        raise InterruptedError

    points = np.array([[1.0, 0.0], [0.1, 0.2]])
    with ThreadPoolExecutor(2) as pool, pytest.raises(InterruptedError):
        wos.solve(DISC, points, dirichlet=f, atol=0.0, walks=2, max_walks=2**20, executor=pool, rng=1, progress=stop)
    assert 0 < len(calls) < 2**18
