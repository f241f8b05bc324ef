"""Complete transformers models: a prompt, a training step and a decoding step, with and without this library, compiled or not.

    quatrefoil bench models [--models Mamba-130M ...] [--tasks token ...] [--dtypes float32] [--threads 1] [--json FILE] [--plot FILE]

Weights are random. Models have fewer layers, to fit a small machine, and proportionally smaller vocabularies. Each side runs in its own
process, which serves all rows of a model; the sides prepare a row at the same time, and are timed in turn. Values are compared with those
of transformers in float32 before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._machine import check_quiet, describe_machine, result_file
from ._run import compared, error, finish, quartiles, show, write

TASKS, DTYPES = ("prompt", "training", "token"), ("float32", "bfloat16")
PROMPT, BEFORE, CACHE = 512, 16, 2048  # tokens: of a prompt, before the decoding step, and the length of a static cache
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.1}  # of logits and gradients; bfloat16 has 8 bits, and errors add up over layers
OURS, COMPILED = "quatrefoil", "quatrefoil, torch.compile"
SIDES = {OURS: (True, False), COMPILED: (True, True), "transformers": (False, False), "transformers, torch.compile": (False, True)}
# Other software for such models, which cannot be compared here.
ABSENT = {
    "llama.cpp, OpenVINO and ONNX Runtime": "they read only converted checkpoints, not models with random weights, and have no gradients",
    "mamba-ssm, causal-conv1d, flash-linear-attention": "their kernels need a GPU",
}


class Shape(NamedTuple):
    """A transformers model: its configuration, at published sizes, but with fewer layers and a proportionally smaller vocabulary."""

    name: str
    config: str
    layers: tuple[int, int]  # here, and published
    options: dict[str, Any]
    vision: dict[str, Any] | None = None  # the configuration of vision, for models that are only available with it

    def build(self) -> Any:
        """The model in float32, with random weights."""
        import transformers

        options = self.options | {"num_hidden_layers": self.layers[0]}
        if causal := getattr(transformers, f"{self.config}ForCausalLM", None):
            kind = getattr(transformers, f"{self.config}TextConfig", None) or getattr(transformers, f"{self.config}Config")
            return causal(kind(**options, dtype="float32"))
        config = getattr(transformers, f"{self.config}Config")(text_config=options, vision_config=self.vision, dtype="float32")
        return getattr(transformers, f"{self.config}ForConditionalGeneration")(config)


SHAPES = (
    Shape("Mamba-130M", "Mamba", (2, 24), {"hidden_size": 768, "state_size": 16, "vocab_size": 4190}),
    Shape(
        "Mamba-2-130M", "Mamba2", (2, 24),
        {"hidden_size": 768, "num_heads": 24, "head_dim": 64, "state_size": 128, "n_groups": 1, "chunk_size": 256, "vocab_size": 4191},
    ),
    Shape(
        "Qwen3.5-0.8B", "Qwen3_5", (4, 24),
        {
            "hidden_size": 1024, "intermediate_size": 3584, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
            "linear_num_key_heads": 16, "linear_num_value_heads": 16, "tie_word_embeddings": True, "vocab_size": 41387,
        },
    ),
    # 48 billion parameters would not fit, so there are also only 8 of 256 experts, and a 20th of the vocabulary
    Shape(
        "Kimi-Linear", "KimiLinear", (2, 27),
        {
            "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 8, "vocab_size": 8192,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        },
    ),
)  # fmt: skip


class Request(NamedTuple):
    """One row of the table."""

    shape: Shape
    task: str
    dtype: str
    threads: int
    prompt: int = PROMPT

    def size(self) -> str:
        count = f"{self.prompt} tokens" if self.task != "token" else f"after {BEFORE} tokens"
        layers = "{} of {} layers".format(*self.shape.layers)
        return f"{count}, {layers}, {self.dtype}, threads: {self.threads}"


class Model:
    """One side of a row, in its own process."""

    def __init__(self, request: Request, compiled: bool) -> None:
        import torch

        from .. import set_num_threads

        set_num_threads(request.threads)
        torch.set_num_threads(request.threads)
        torch.manual_seed(0)
        self.request, self.compiled = request, compiled
        self.model = request.shape.build().to(getattr(torch, request.dtype))
        self.model.train(request.task == "training")
        self.call = self.model
        if compiled:
            torch.compiler.reset()  # because the compiled code of other rows counts towards torch's limit for one function
            self.call = torch.compile(self.model)
        self.config = self.model.config.get_text_config()
        self.ids = torch.randint(3, self.config.vocab_size, (1, request.prompt))
        self.clock = time.process_time if request.threads == 1 else time.perf_counter
        self.cache: dict[str, Any] = {}

    def value(self) -> np.ndarray:
        """The compared values: logits of the last token, or the gradients of one parameter per layer."""
        self.cache = {}  # each step of a decoder changes its states
        result: np.ndarray = self._step().detach().float().numpy()
        return result

    def seconds(self) -> float:
        begin: float = self.clock()
        self._step()
        seconds: float = self.clock() - begin
        return seconds

    def inside(self) -> float:
        """Seconds of one step in this library's kernels."""
        import cProfile
        import pstats

        profile = cProfile.Profile()
        profile.runcall(self._step)
        stats: Any = pstats.Stats(profile)
        return float(sum(row[2] for (_, _, name), row in stats.stats.items() if "quatrefoil._core" in name))

    def _step(self) -> Any:
        return {"prompt": self._prompt, "training": self._training, "token": self._token}[self.request.task]()

    def _prompt(self) -> Any:
        import torch

        with torch.no_grad():
            return self.call(self.ids, use_cache=False, logits_to_keep=1).logits[0, -1]

    def _training(self) -> Any:
        import torch

        self.model.zero_grad()
        self.call(self.ids, labels=self.ids, use_cache=False).loss.backward()
        gradients = [p.grad.flatten()[:4096].float() for name, p in self.model.named_parameters() if "out_proj" in name or "o_proj" in name]
        return torch.cat([g / g.abs().max() for g in gradients])

    def _token(self) -> Any:
        import torch
        import transformers

        with torch.no_grad():
            if not self.cache:
                name = _cache_name(self.model)
                static = {name: transformers.StaticCache(config=self.config, max_cache_len=CACHE)} if self.compiled else {}
                result = self.model(self.ids[:, :BEFORE], **static, use_cache=True, logits_to_keep=1)
                self.cache = {name: result[name], "use_cache": True}
            return self.call(self.ids[:, BEFORE : BEFORE + 1], **self.cache).logits[0, -1]


def _cache_name(model: Any) -> str:
    """The argument of ``forward`` for the states. It depends on the model and the release; models ignore unknown arguments."""
    parameters = inspect.signature(model.forward).parameters
    return next(name for name in ("cache", "past_key_values", "cache_params") if name in parameters)


def _serve(connection: Connection, installed: bool, compiled: bool) -> None:
    """The process of a side: receives rows and names of methods of ``Model``, and sends the results."""
    from .. import ssm

    if installed:
        ssm.install()
    model: Any = None
    with suppress(EOFError):
        while True:
            request, method = connection.recv()
            try:
                if model is None or model.request != request:
                    model = None  # frees its memory
                    model = Model(request, compiled)
                connection.send((True, getattr(model, method)()))
            except Exception as failure:
                connection.send((False, f"{type(failure).__name__}: {failure}".split("\n")[0]))


class _Side:
    """A process of ``_serve``."""

    def __init__(self, installed: bool, compiled: bool) -> None:
        self.connection, remote = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(target=_serve, args=(remote, installed, compiled), daemon=True)
        self.process.start()
        remote.close()

    def send(self, request: Request, method: str) -> None:
        self.connection.send((request, method))

    def answer(self, limit: float | None = None) -> Any:
        """The answer to the last request. Raises RuntimeError after a failure, TimeoutError after ``limit``."""
        if not self.connection.poll(limit):
            raise TimeoutError
        try:
            success, answer = self.connection.recv()
        except EOFError:
            raise RuntimeError("the process was killed, perhaps because memory ran out") from None
        if not success:
            raise RuntimeError(answer)
        return answer

    def ask(self, request: Request, method: str) -> Any:
        self.send(request, method)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.join()


class Sides:
    """The processes of one model: started for its first row, and again after a failure."""

    def __init__(self, names: Sequence[str], limit: float) -> None:
        self.names, self.limit = names, limit
        self.failures: dict[tuple[str, str], str] = {}  # task, side -> the reason; it is not tried again with other dtypes and threads
        self._truths: dict[str, Any] = {}  # task -> values of transformers in float32
        self._running: dict[str, _Side] = {}

    def __getitem__(self, name: str) -> _Side:
        if name not in self._running:
            self._running[name] = _Side(*SIDES[name])
        return self._running[name]

    def truth(self, request: Request) -> Any:
        if request.task not in self._truths:
            self._truths[request.task] = self["transformers"].ask(request._replace(dtype="float32"), "value")
        return self._truths[request.task]

    def together(self, request: Request, method: str) -> dict[str, Any]:
        """The answers of all sides that have not failed. The sides work at the same time."""
        names = [name for name in self.names if (request.task, name) not in self.failures]
        for name in names:
            self[name].send(request, method)
        answers: dict[str, Any] = {}
        end = time.monotonic() + self.limit
        for name in names:
            try:
                answers[name] = self[name].answer(max(end - time.monotonic(), 0) if name != OURS else None)
            except (TimeoutError, RuntimeError) as failure:
                if name == OURS:
                    raise
                late = f"not ready after {self.limit:g} s, most of which was compilation"
                reason = late if isinstance(failure, TimeoutError) else str(failure)
                self.failures[request.task, name] = f"{reason} ({request.dtype}, threads: {request.threads})"
                self._running.pop(name).close()
        return answers

    def close(self) -> None:
        for side in self._running.values():
            side.close()
        self._running.clear()


def measured(request: Request, sides: Sides, rounds: int, budget: float) -> dict[str, Any]:
    """One row: values of all sides compared, then rounds of one run each, at least three, for about ``budget`` seconds."""
    row: dict[str, Any] = {"family": "models", "problem": f"{request.shape.name} {request.task}", "size": request.size()}
    row |= {"model": request.shape.config, "task": request.task}
    truth = sides.truth(request)
    errors = {name: error(value, truth) for name, value in sides.together(request, "value").items()}
    for name, off in errors.items():
        if not off <= TOLERANCE[request.dtype]:
            raise ArithmeticError(f"{name} has an error of {off:.1e}; nothing was timed")
    names = [*sides.together(request, "seconds")]  # the first call may compile again
    times: dict[str, list[float]] = {name: [] for name in names}
    begin = time.monotonic()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(sides[name].ask(request, "seconds"))
        if turn >= 2 and time.monotonic() - begin > budget:
            break
    inside = min(sides[OURS].ask(request, "inside") for _ in range(3))
    failed = {name: {"fails": sides.failures[request.task, name]} for name in sides.names if name not in names}
    return row | _compared(times, errors, inside, failed)


def _compared(times: dict[str, list[float]], errors: dict[str, float], inside: float, failed: dict[str, Any]) -> dict[str, Any]:
    ours = times[OURS]
    median = statistics.median(ours)
    peers = dict(failed)
    for name, theirs in times.items():
        if name != OURS:
            peers[name] = compared(ours, theirs, errors[name])
    row = {"seconds": median, "error": errors[OURS], "quartiles": quartiles(ours), "runs": len(ours), "peers": peers}
    return row | {"parts": {"the rest of the model": max(median - inside, 0.0)}}


def main(arguments: Sequence[str]) -> int:
    names = [shape.name for shape in SHAPES]
    parser = argparse.ArgumentParser(prog="quatrefoil bench models", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument(
        "--threads", nargs="+", type=int, default=sorted({1, os.cpu_count() or 1}), help="numbers of threads; default: 1 and all processors"
    )
    parser.add_argument("--rounds", type=int, default=21, help="maximum number of runs per side (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for the runs of a row, which has at least three (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two narrow layers and prompts of 64 tokens, to see whether everything runs")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="time limit for compiling a row (%(default)s)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="also time transformers alone (the default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot the ratios")
    parser.add_argument("--force", action="store_true", help="write --json even on a busy machine; the file records the load")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    if options.json and not check_quiet(machine, options.force):
        return 2
    if not importlib.util.find_spec("transformers"):
        parser.error("transformers is not installed; pip install transformers")
    for name, reason in ABSENT.items():
        print(f"not timed: {name}: {reason}")
    json_file = options.json and result_file(options.json, machine)
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with suppress(KeyboardInterrupt):  # the files then contain the rows so far
        for row in _rows(options, failures):
            rows.append(row)
            show(row)
            if json_file:
                write(rows, machine, ["models"], json_file)
    return finish(rows, machine, json_file, options.plot) or int(bool(failures))


def _rows(options: argparse.Namespace, failures: list[str]) -> Iterator[dict[str, Any]]:
    """All rows; those that fail are printed, and added to ``failures``."""
    import transformers

    names = [name for name, (installed, _) in SIDES.items() if options.peers or installed]
    for shape in (shape for shape in SHAPES if shape.name in options.models):
        if not hasattr(transformers, f"{shape.config}ForCausalLM"):
            print(f"transformers {transformers.__version__} has no {shape.config}, so its rows are skipped")
            continue
        with closing(Sides(names, options.limit)) as sides:
            for request in _requests(shape, options):
                try:
                    yield measured(request, sides, options.rounds, options.seconds)
                except (ArithmeticError, RuntimeError) as failure:
                    failures.append(f"{shape.name} {request.task}, {request.size()}: {failure}")
                    print(failures[-1], flush=True)
                    sides.close()  # some may still be running


def _requests(shape: Shape, options: argparse.Namespace) -> Iterator[Request]:
    """The rows of a model. Those with one thread run first, because later rows start threads that stay idle in the process."""
    shape, prompt = (_narrow(shape), 64) if options.quick else (shape, PROMPT)
    for threads, task, dtype in product(options.threads, options.tasks, options.dtypes):
        yield Request(shape, task, dtype, threads, prompt)


def _narrow(shape: Shape) -> Shape:
    """Two layers of 256 channels, and a vocabulary of 1000 tokens."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_heads": 8, "vocab_size": 1000}
    options = {name: sizes.get(name, value) for name, value in (sizes | shape.options).items()}
    return shape._replace(layers=(2, shape.layers[1]), options=options)
