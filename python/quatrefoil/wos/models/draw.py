"""Runs walks in one call, in parts that report progress, in rounds, or on an executor, with the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._progress import Report, reporter
from . import harmonic
from .adaptive import Rule, draw_until
from .chunk import Window, walk_ranges, windows
from .prepared import Prepared
from .run import Run
from .scaleout import Task, answers, check_executor, shared_by
from .settings import check_range
from .state import Groups, Part, State, gather, parts_of

PART_WALKS = 2**20  # walks per part if their number is known; they take 0.3 s with one thread
ROUND_WALKS = 2**15  # walks in the first round of a task with a tolerance
POINTS_HERE = 2**17  # points per part if its rounds run in this process

Request = tuple[np.ndarray | slice, int, int]  # points, their first walk, number of walks


class Job(NamedTuple):
    """Walks [first, first + walks) of some points of a window."""

    window: Window
    request: int  # index of the request
    rows: np.ndarray  # indices in the window
    first: int
    walks: int


@dataclass
class Tally:
    """Reports the number of walks so far and the fraction left: of the walks if their number is known, otherwise of the points."""

    tell: Report | None
    total: int
    walks: int = 0
    ended: int = 0

    def add(self, walks: int, ended: int) -> None:
        self.walks, self.ended = self.walks + walks, self.ended + ended
        if self.tell is not None:
            self.tell(self.walks, 1 - self.ended / self.total)


@dataclass(frozen=True)
class Draw:
    """Runs walks for the points of a ``Run``."""

    run: Run
    executor: Executor | None
    tell: Report | None
    label: str

    @staticmethod
    def from_run(run: Run, executor: Any, progress: Any, label: str) -> Draw:
        tell = reporter(progress, label, lambda walks, left: f"wos.solve: {walks} walks, {left:.0%} left")
        if executor is not None:
            check_executor(run, executor, label)
        return Draw(run, executor, tell, label)

    def run_groups(self, requests: Sequence[Request], rule: Rule | None = None) -> State | Groups:
        """Run the requested walks. Every point occurs in one request. With a rule, run as many as a point needs, from the first one on."""
        return gather(self._parts(requests, rule))

    def further(self, state: State | Groups, rule: Rule) -> State | Groups:
        """Add walks to a state, round by round, for the points that need them."""
        quiet, whole, done, walks = replace(self, tell=None), self.run.prepared.as_chunk(), [], 0
        going = parts_of(state)
        while going:
            more: list[Part] = []
            for rows, part in going:
                enough = rule.met(part, whole.units_of(rows)) | (part.walks >= rule.max_walks)
                if enough.any():
                    done.append((rows[enough], part.take(enough)))
                if not enough.all():
                    rows, part = rows[~enough], part.take(~enough)
                    step = min(rule.walks, rule.max_walks - part.walks)
                    walks += step * len(rows)
                    fresh = quiet._parts([(rows, part.end, step)])
                    more += [(r, part.take(np.searchsorted(rows, r)).join(drawn)) for r, drawn in fresh]
            going = more
            if self.tell is not None:
                self.tell(walks, sum(len(rows) for rows, _ in going) / len(state.counts))
        return gather(done)

    def _parts(self, requests: Sequence[Request], rule: Rule | None = None) -> list[Part]:
        p = self.run.prepared
        for _, first, walks in requests:
            check_range(self.label, first, walks if rule is None else rule.max_walks)
        if self.run.settings.cache:
            return parts_of(harmonic.draw(p, self.run.cover, *requests[0][1:]))
        plain = self.executor is None and self.tell is None and rule is None and len(requests) == 1
        if plain or not p.sizes.B * p.sizes.N:
            rows, first, walks = requests[0]
            rows = np.arange(p.sizes.B * p.sizes.N)[rows]
            return [(rows, p.as_chunk().run(first, walks, rows))]
        jobs = list(self._jobs(p, requests, rule))
        total = p.sizes.B * p.sizes.N if rule else sum(len(job.rows) * job.walks for job in jobs)
        draw = self._here if self.executor is None else self._elsewhere
        return list(_in_order(p, jobs, draw(p, jobs, rule, Tally(self.tell, total))))

    def _jobs(self, p: Prepared, requests: Sequence[Request], rule: Rule | None) -> Iterator[Job]:
        request = np.full(p.sizes.B * p.sizes.N, -1)
        for k, (rows, _, _) in enumerate(requests):
            request[rows] = k
        if rule is None:
            points = PART_WALKS // max(walks for _, _, walks in requests)
        else:
            points = POINTS_HERE if self.executor is None else ROUND_WALKS // rule.walks
        for window in windows(p.sizes.B, p.sizes.N, points, self.run.settings.shared_walks):
            here = request[window.rows(p.sizes.N)]
            for k in np.unique(here[here >= 0]):
                _, first, walks = requests[k]
                rows = np.flatnonzero(here == k)
                for at, count in walk_ranges(first, walks, PART_WALKS) if rule is None else [(first, walks)]:
                    yield Job(window, int(k), rows, at, count)

    def _here(self, p: Prepared, jobs: list[Job], rule: Rule | None, tally: Tally) -> list[list[Part]]:
        parts: list[list[Part]] = []
        for window, same in groupby(jobs, key=lambda job: job.window):
            chunk = p.chunk(window)
            for job in same:
                if rule is not None:
                    parts.append(draw_until(chunk, rule, job.first, tally.add))
                    continue
                parts.append([(job.rows, chunk.run(job.first, job.walks, job.rows))])
                tally.add(job.walks * len(job.rows), job.walks * len(job.rows))
        return parts

    def _elsewhere(self, p: Prepared, jobs: list[Job], rule: Rule | None, tally: Tally) -> list[list[Part]]:
        def tasks() -> Iterator[Task]:
            for _, of_instances in groupby(jobs, key=lambda job: job.window[:2]):
                shared = None
                for window, same in groupby(of_instances, key=lambda job: job.window):
                    shared = shared or shared_by(p, window)
                    chunk = p.chunk(window, shared.geometry).without_geometry()
                    for job in same:
                        yield Task(chunk, shared, job.rows, job.first, job.walks, rule)

        of_jobs: list[list[Part]] = [[] for _ in jobs]
        assert self.executor is not None
        for number, parts in answers(self.executor, tasks(), self.label):
            of_jobs[number] = parts
            walks = sum(int(np.sum(state.walks)) * len(rows) for rows, state in parts)
            tally.add(walks, walks if rule is None else len(jobs[number].rows))
        return of_jobs


def _in_order(p: Prepared, jobs: list[Job], of_jobs: list[list[Part]]) -> Iterator[Part]:
    """The parts of all jobs, with indices into all points. Joins the ranges of walks of the same points."""
    for (window, _), same in groupby(zip(jobs, of_jobs), key=lambda pair: pair[0][:2]):
        ranges = [parts for _, parts in same]
        numbers = window.rows(p.sizes.N)
        if len(ranges) > 1:
            rows = ranges[0][0][0]
            ranges = [[(rows, reduce(State.join, (parts[0][1] for parts in ranges)))]]
        for rows, state in ranges[0]:
            arrays = (_arrays.of_kind(p.kind, x) if isinstance(x, np.ndarray) else x for x in (state.mean, state.m2, state.counts))
            yield numbers[rows], State(state.starts, state.sizes, *arrays)
