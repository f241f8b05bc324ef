"""``quatrefoil bench models`` on a tiny model: each side runs in its own process, values are compared, rows are as in other benchmarks."""

import json
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import quatrefoil as qf  # noqa: E402
from quatrefoil.bench import models  # noqa: E402
from ssm.transformers_models import COMMON, MODELS  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.skipif(int(transformers.__version__.partition(".")[0]) < 5, reason="no StaticCache of states")]
TINY = models.Shape("tiny", "Mamba", (1, 24), {"hidden_size": 16, "state_size": 4, "vocab_size": 50})


@pytest.mark.slow
@pytest.mark.parametrize("task", models.TASKS)
def test_a_tiny_model(task, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(models, "SHAPES", (TINY,))
    monkeypatch.setattr(models, "SIDES", {models.OURS: (True, False), "transformers": (False, False)})
    file = tmp_path / "rows.json"
    options = f"--models tiny --tasks {task} --dtypes float32 --threads 1 --rounds 2 --force --json {file}".split()
    assert models.main(options) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["peers"]["transformers"]["ratio"] > 0
    assert 0 <= row["parts"]["the rest of the model"] < row["seconds"]
    text = capsys.readouterr().out
    assert "not timed: llama.cpp" in text
    assert "including the rest of the model" in text


class FakeSide:
    """A side whose compiled forms are never ready."""

    started, sent = 0, []

    def __init__(self, installed, compiled):
        self.compiled = compiled
        FakeSide.started += 1

    def send(self, request, method):
        self.sent.append((self.compiled, method))
        self.method = method

    def answer(self, limit=None):
        if self.compiled:
            raise TimeoutError
        return [1.0, 2.0] if self.method == "value" else 0.5

    def ask(self, request, method):
        self.send(request, method)
        return self.answer()

    def close(self):
        pass


def test_a_side_that_fails_has_no_times(monkeypatch):
    """Models that cannot be compiled are named, and not compiled again with other types and threads. Wrong values are not timed."""
    FakeSide.started, FakeSide.sent = 0, []
    monkeypatch.setattr(models, "_Side", FakeSide)
    monkeypatch.setattr(models, "error", lambda value, truth: 0.0)
    sides, request = models.Sides(models.SIDES, 9.0), models.Request(TINY, "token", "float32", 1)
    for row in (models.measured(request._replace(dtype=dtype), sides, 3, 9.0) for dtype in models.DTYPES):
        assert row["peers"][models.COMPILED] == {"fails": "not ready after 9 s, most of which was compilation (float32, threads: 1)"}
        assert row["peers"]["transformers"]["ratio"] == 1
        assert row["runs"] == 3
    assert FakeSide.started == len(models.SIDES)
    assert FakeSide.sent.count((True, "value")) == 2
    assert (True, "inside") not in FakeSide.sent
    monkeypatch.setattr(models, "error", lambda value, truth: 1.0)
    with pytest.raises(ArithmeticError, match=r"^quatrefoil has an error of 1.0e\+00; nothing was timed$"):
        models.measured(request, sides, 3, 9.0)


def test_a_row_that_fails_is_printed_and_others_are_written(monkeypatch, tmp_path, capsys):
    def measured(request, *rest, original=models.measured):
        if request.task == "prompt":
            raise ArithmeticError("off")
        return original(request, *rest)

    for name, value in {"SHAPES": (TINY,), "_Side": FakeSide, "error": lambda value, truth: 0.0, "measured": measured}.items():
        monkeypatch.setattr(models, name, value)
    file = tmp_path / "rows.json"
    options = ["--dtypes", "float32", "--threads", "1", "--force", "--json", str(file)]
    assert models.main(["--tasks", "prompt", "token", *options]) == 1
    assert [row["task"] for row in json.loads(file.read_text())["rows"]] == ["token"]
    assert "tiny prompt, 512 tokens, 1 of 24 layers, float32, threads: 1: off\n" in capsys.readouterr().out
    assert models.main(["--tasks", "token", *options]) == 0


@pytest.mark.parametrize("installed", [False, True], ids=["own", "ours"])
@pytest.mark.parametrize("config", [shape.config for shape in models.SHAPES if hasattr(transformers, f"{shape.config}Config")])
def test_a_token_comes_after_its_prompt(config, installed, monkeypatch):
    """A model ignores a cache that is passed under the wrong name, and would treat every token as the first."""
    for package in (torch, qf):
        monkeypatch.setattr(package, "set_num_threads", lambda count: None)
    sizes = {name: x for name, x in (COMMON | MODELS[config][0]).items() if name != "num_hidden_layers"}
    shape = models.Shape("tiny", config, (2, 2), sizes)
    side = models.Model(models.Request(shape, "token", "float32", 1, models.BEFORE + 1), False)
    side.model.eval()
    with torch.no_grad():
        expected = side.model(side.ids, use_cache=False).logits[0, -1]
    with qf.ssm.install() if installed else nullcontext():
        torch.testing.assert_close(torch.from_numpy(side.value()), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [shape for shape in models.SHAPES if hasattr(transformers, f"{shape.config}Config")])
def test_quick_models_are_small(shape):
    assert sum(p.numel() for p in models._narrow(shape).build().parameters()) < 5e7
