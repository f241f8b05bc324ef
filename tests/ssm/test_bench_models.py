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
    options = [
        "--models",
        "tiny",
        "--tasks",
        task,
        "--dtypes",
        "float32",
        "--threads",
        "1",
        "--rounds",
        "2",
        "--force",
        "--json",
        str(file),
    ]
    assert models.main(options) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["peers"]["transformers"]["ratio"] > 0
    assert 0 <= row["parts"]["the rest of the model"] < row["seconds"]
    text = capsys.readouterr().out
    assert "not timed: llama.cpp" in text
    assert "including the rest of the model" in text


def test_a_side_that_fails_has_no_times(monkeypatch):
    """A side with wrong values is not timed, and models that cannot be compiled are named."""
    asked = []

    class Side:
        def __init__(self, request, installed, compiled):
            self.compiled = compiled

        def ask(self, method, limit=None):
            asked.append((self.compiled, method))
            if self.compiled and limit:
                raise RuntimeError("not ready")
            return [1.0, 2.0] if method == "value" else 0.5

        def close(self):
            pass

    monkeypatch.setattr(models, "_Side", Side)
    monkeypatch.setattr(models, "error", lambda value, truth: 0.0)
    row = models.measured(models.Request(TINY, "token", "float32", 1), True, 3, 9.0)
    assert row["peers"][models.COMPILED] == {"fails": "not ready"}
    assert row["peers"]["transformers"]["ratio"] == 1
    assert (True, "inside") not in asked
    monkeypatch.setattr(models, "error", lambda value, truth: 1.0)
    with pytest.raises(ArithmeticError, match=r"tiny token .*: quatrefoil has an error of 1.0e\+00; nothing was timed"):
        models.measured(models.Request(TINY, "token", "float32", 1), True, 3, 9.0)


@pytest.mark.parametrize("installed", [False, True], ids=["own", "ours"])
@pytest.mark.parametrize("config", [shape.config for shape in models.SHAPES if hasattr(transformers, f"{shape.config}Config")])
def test_a_token_comes_after_its_prompt(config, installed, monkeypatch):
    """A model ignores an argument with another name for its cache, and would then start afresh with every token."""
    for package in (torch, qf):
        monkeypatch.setattr(package, "set_num_threads", lambda count: None)
    shape = models.Shape(
        "tiny", config, (2, 2), {name: x for name, x in (COMMON | MODELS[config][0]).items() if name != "num_hidden_layers"}
    )
    side = models.Model(models.Request(shape, "token", "float32", 1, models.BEFORE + 1), False, False)
    side.model.eval()
    with torch.no_grad():
        expected = side.model(side.ids, use_cache=False).logits[0, -1]
    with qf.ssm.install() if installed else nullcontext():
        torch.testing.assert_close(torch.from_numpy(side.value()), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [shape for shape in models.SHAPES if hasattr(transformers, f"{shape.config}Config")])
def test_quick_models_are_small(shape):
    assert sum(p.numel() for p in models._narrow(shape).build().parameters()) < 5e7
