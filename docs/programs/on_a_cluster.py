"""Three jobs on Dask's LocalCluster, with one and with two worker processes; one of the two is killed during a second run of the walks.

    python docs/programs/on_a_cluster.py [SIZE]

To use a real cluster, replace ``LocalCluster(...)`` by the address of its scheduler: ``Client("scheduler:8786")``.
"""

import os
import signal
import sys
import threading
import time

import numpy as np
from distributed import Client, LocalCluster

import quatrefoil as qf

SIZE = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0  # 1: about a minute per worker


def beam(x, y, z):
    """A model that takes a twentieth of a second per point."""
    until = time.process_time() + 0.05 * SIZE
    while time.process_time() < until:
        pass
    return x * np.exp(-(y**2)) + np.sin(3 * x * z)


def walks(executor):
    """Temperatures at 2000 points of a star with 4000 segments."""
    t = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    star = qf.wos.Polygon((1 + 0.3 * np.cos(5 * t))[:, None] * np.stack([np.cos(t), np.sin(t)], -1))
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (2000, 2))
    warm_side = qf.wos.Polynomial(np.array([[0.0, 1.0], [1.0, 0.5]]))
    return qf.wos.solve(star, points, dirichlet=warm_side, walks=int(4000 * SIZE), rng=0, executor=executor).value


def surrogate(executor):
    """A polynomial in place of the model, from a thousand values."""
    return qf.cheb.ChebTucker.from_function(beam, n=max(round(10 * SIZE ** (1 / 3)), 4), executor=executor).core


def spectrum(executor):
    """A series of 4000 numbers, split among two agents."""
    x = np.arange(int(4000 * SIZE) + 40.0)
    y = np.sin(0.2 * np.pi * x) + 0.3 * np.random.default_rng(0).standard_normal(len(x))
    model = qf.kron.SlimKL(means=np.linspace(0, 0.5, 101), noise=0.1, agents=2, tol=1e-4, executor=executor)
    return model.fit(x, y).weights_


JOBS = {"walks": walks, "from_function": surrogate, "SlimKL": spectrum}


def timed(job, executor):
    begin = time.perf_counter()
    return job(executor), time.perf_counter() - begin


def kill_later(seconds, process):
    threading.Timer(seconds, os.kill, (process, signal.SIGKILL)).start()


def main():
    results, seconds = {}, {}
    for workers in (1, 2):
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            client.run(lambda: __import__("quatrefoil").set_num_threads(1))
            executor = client.get_executor()
            for name, job in JOBS.items():
                results[name, workers], seconds[name, workers] = timed(job, executor)
            if workers == 2:
                kill_later(seconds["walks", 2] / 3, next(iter(client.run(os.getpid).values())))
                results["walks", "killed"], seconds["walks", "killed"] = timed(walks, executor)
    for name in JOBS:
        one, two = seconds[name, 1], seconds[name, 2]
        print(f"{name:14s} {one:6.1f} s by one worker, {two:6.1f} s by two: {one / two:.2f} times as fast")
    print(f"{'walks':14s} {seconds['walks', 'killed']:6.1f} s by two, of which one is killed and replaced")
    expected = {name: job(None) for name, job in JOBS.items()}
    same = all(np.array_equal(value, expected[name]) for (name, _), value in results.items())
    print("all results are bitwise identical to those of this process" if same else "results differ")
    return same


if __name__ == "__main__":
    main()
