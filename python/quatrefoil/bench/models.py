"""Whole models of transformers: a prompt, a training step and a decoding step, with this library's functions and without, compiled or not.

    quatrefoil bench models [--models Mamba-130M ...] [--tasks token ...] [--dtypes float32] [--threads 1] [--json FILE] [--plot FILE]

Weights are random, and layers are cut to fit a small machine. Each side is a process of its own. Values are compared with those of
transformers in float32 before anything is timed.
"""

from __future__ import annotations

import argparse
import inspect
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._machine import about, check_quiet
from ._run import error, finish, quartiles, show

TASKS, DTYPES = ("prompt", "training", "token"), ("float32", "bfloat16")
PROMPT, BEFORE, CACHE = 512, 16, 2048  # tokens: of a prompt, before the decoding step, and the length of a static cache
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.1}  # of logits and gradients; bfloat16 has 8 bits, and layers add up
OURS, COMPILED = "quatrefoil", "quatrefoil, torch.compile"
SIDES = {OURS: (True, False), COMPILED: (True, True), "transformers": (False, False), "transformers, torch.compile": (False, True)}
# Other programs that run such models on a CPU, which cannot take part here.
ABSENT = {
    "llama.cpp, OpenVINO and ONNX Runtime": "they read only converted checkpoints, not models with random weights, and have no gradients",
    "mamba-ssm, causal-conv1d, flash-linear-attention": "their kernels need a GPU",
}


class Shape(NamedTuple):
    """A model of transformers: its configuration, at published sizes but for the number of layers."""

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
    Shape("Mamba-130M", "Mamba", (4, 24), {"hidden_size": 768, "state_size": 16}),
    Shape(
        "Mamba-2-130M", "Mamba2", (4, 24),
        {"hidden_size": 768, "num_heads": 24, "head_dim": 64, "state_size": 128, "n_groups": 1, "chunk_size": 256, "vocab_size": 50288},
    ),
    Shape(
        "Qwen3.5-0.8B", "Qwen3_5", (4, 24),
        {
            "hidden_size": 1024, "intermediate_size": 3584, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
            "linear_num_key_heads": 16, "linear_num_value_heads": 16, "tie_word_embeddings": True,
        },
    ),
    # 48 billion parameters would not fit: two layers, 8 of 256 experts, a 20th of the vocabulary
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

    def __init__(self, request: Request, installed: bool, compiled: bool) -> None:
        import torch

        from .. import set_num_threads, ssm

        set_num_threads(request.threads)
        torch.set_num_threads(request.threads)
        torch.manual_seed(0)
        self.request, self.compiled = request, compiled
        self.model = request.shape.build().to(getattr(torch, request.dtype))
        self.model.train(request.task == "training")
        if installed:
            ssm.install()
        self.call = torch.compile(self.model) if compiled else self.model
        self.config = self.model.config.get_text_config()
        self.ids = torch.randint(3, self.config.vocab_size, (1, request.prompt))
        self.clock = time.process_time if request.threads == 1 else time.perf_counter
        self.cache: dict[str, Any] = {}

    def value(self) -> np.ndarray:
        """The compared values: logits of the last token, or the gradients of one parameter per layer."""
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
    """The argument of ``forward`` for the states. It depends on model and release, and a model ignores arguments that it does not know."""
    parameters = inspect.signature(model.forward).parameters
    return next(name for name in ("cache", "past_key_values", "cache_params") if name in parameters)


def _serve(connection: Connection, request: Request, installed: bool, compiled: bool) -> None:
    """The process of a side: answers names of the methods above."""
    model: Any = None
    with suppress(EOFError):
        while True:
            method = connection.recv()
            try:
                model = model or Model(request, installed, compiled)
                connection.send((True, getattr(model, method)()))
            except Exception as failure:
                connection.send((False, f"{type(failure).__name__}: {failure}".split("\n")[0]))


class _Side:
    """A process of ``_serve``."""

    def __init__(self, request: Request, installed: bool, compiled: bool) -> None:
        here, there = get_context("spawn").Pipe()
        before, os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS"), str(request.threads)
        self.process = get_context("spawn").Process(target=_serve, args=(there, request, installed, compiled), daemon=True)
        self.process.start()
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
        there.close()
        self.connection = here

    def ask(self, method: str, limit: float | None = None) -> Any:
        """The answer; RuntimeError for a failure, or for none within the limit."""
        self.connection.send(method)
        if not self.connection.poll(limit):
            raise RuntimeError(f"not ready after {limit:g} s, most of which was compilation")
        success, answer = self.connection.recv()
        if not success:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def measured(request: Request, peers: bool, rounds: int, limit: float) -> dict[str, Any]:
    """One row: values of all sides compared, then rounds of one run each."""
    row: dict[str, Any] = {"family": "models", "problem": f"{request.shape.name} {request.task}", "size": request.size(), "peers": {}}
    row |= {"model": request.shape.config, "task": request.task}
    names = [name for name, (installed, _) in SIDES.items() if peers or installed]
    with ExitStack() as stack:

        def side(of: Request, name: str) -> _Side:
            return stack.enter_context(closing(_Side(of, *SIDES[name])))

        reference = side(request._replace(dtype="float32"), "transformers")
        truth, sides, errors = reference.ask("value"), {}, {}
        if request.dtype != "float32":
            reference.close()
        for name in names:
            sides[name] = reference if name == "transformers" and request.dtype == "float32" else side(request, name)
            try:
                errors[name] = 0.0 if sides[name] is reference else error(sides[name].ask("value", limit), truth)
                sides[name].ask("seconds", limit)  # the first call may compile again
            except RuntimeError as failure:
                if name == OURS:
                    raise
                row["peers"][name] = {"fails": str(failure)}
                sides.pop(name).close()
                continue
            if not errors[name] <= TOLERANCE[request.dtype]:
                raise ArithmeticError(f"{row['problem']} {row['size']}: {name} has an error of {errors[name]:.1e}; nothing was timed")
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds):
            order = [*sides][turn % len(sides) :] + [*sides][: turn % len(sides)]
            for name in order:
                times[name].append(sides[name].ask("seconds"))
        inside = min(sides[OURS].ask("inside") for _ in range(3))
    return row | _compared(times, errors, inside, row["peers"])


def _compared(times: dict[str, list[float]], errors: dict[str, float], inside: float, failed: dict[str, Any]) -> dict[str, Any]:
    ours = times[OURS]
    median = statistics.median(ours)
    peers = dict(failed)
    for name, theirs in times.items():
        if name != OURS:
            seconds, within = statistics.median(theirs), [b / max(a, 1e-9) for a, b in zip(ours, theirs)]
            peers[name] = {"seconds": seconds, "error": errors[name], "ratio": seconds / median, "goal": None}
            peers[name] |= {"quartiles": quartiles(theirs), "ratio_quartiles": quartiles(within)}
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
    parser.add_argument("--rounds", type=int, default=7, help="runs of each side (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two narrow layers and prompts of 64 tokens, to see whether everything runs")
    parser.add_argument("--limit", type=float, default=300.0, metavar="SECONDS", help="time limit for compiling one side (%(default)s)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="also time transformers alone (the default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot the ratios")
    parser.add_argument("--force", action="store_true", help="write --json even on a busy machine; the file records the load")
    options = parser.parse_args(arguments)
    machine = about()
    if options.json and not check_quiet(machine, options.force):
        return 2
    try:
        import transformers
    except ImportError:
        parser.error("transformers is not installed; pip install transformers")
    for name, reason in ABSENT.items():
        print(f"not timed: {name}: {reason}")
    rows = []
    for request in _requests(options):
        if not hasattr(transformers, f"{request.shape.config}ForCausalLM"):
            print(f"transformers {transformers.__version__} has no {request.shape.config}, so its rows are skipped")
            continue
        rows.append(measured(request, options.peers, options.rounds, options.limit))
        show(rows[-1])
    return finish(rows, machine, ["models"], options.json, options.plot)


def _requests(options: argparse.Namespace) -> Iterator[Request]:
    for shape in (s for s in SHAPES if s.name in options.models):
        shape, prompt = (_narrow(shape), 64) if options.quick else (shape, PROMPT)
        yield from (Request(shape, task, dtype, n, prompt) for task in options.tasks for dtype in options.dtypes for n in options.threads)


def _narrow(shape: Shape) -> Shape:
    """Two layers of 256 channels, and a vocabulary of 1000 tokens."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_heads": 8, "vocab_size": 1000}
    options = {name: sizes.get(name, value) for name, value in (sizes | shape.options).items()}
    return shape._replace(layers=(2, shape.layers[1]), options=options)
