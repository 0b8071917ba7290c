"""The loss ladder shows whether an adapter has survived or was rounded away."""

import json
import math

import pytest

from conftest import ROOT
from ladder import judge, summarize
from loss import batch_size
from program import Failed
from training import best, run, run_training


@pytest.fixture(scope="module")
def coarse(tiny_model, tmp_path_factory):
    """The tiny model at 4 bits: a base whose grid is too coarse for a small adapter."""
    folder = tmp_path_factory.mktemp("coarse") / "model"
    words = ["--hf-path", tiny_model, "--mlx-path", folder, "-q", "--q-bits", 4]
    made = run(ROOT / "bin/python", "-m", "mlx_lm", "convert", *words, "--q-group-size", 64)
    assert made.returncode == 0, made.stderr
    return folder


def measure(base, folder, fused, q5, out):
    """py/ladder.py on the adapters and the data in `folder`."""
    words = ["--model", base, "--adapters", folder / "adapters", "--data", folder / "data"]
    words += ["--fused", fused, "--q5", q5, "--out", out]
    return run(ROOT / "bin/python", ROOT / "py/ladder.py", *words)


def fuse(base, adapters, out, *options):
    words = ["--model", base, "--adapter-path", adapters, "--save-path", out, *options]
    made = run(ROOT / "bin/python", "-m", "mlx_lm", "fuse", *words)
    assert made.returncode == 0, made.stderr
    return out


def test_an_adapter_that_fusing_has_rounded_away_is_noticed(lora, coarse, tmp_path):
    """mlx_lm fuse does so without --dequantize, on a base of 4 bits."""
    options = {"model": coarse, "learning_rate": 2e-6}
    assert run_training(lora(tmp_path / "adapters.tmp", **options)).returncode == 0
    assert best(tmp_path / "adapters.tmp", tmp_path / "adapters").returncode == 0
    whole = fuse(coarse, tmp_path / "adapters", tmp_path / "whole", "--dequantize")
    rounded = fuse(coarse, tmp_path / "adapters", tmp_path / "rounded")
    good = measure(coarse, tmp_path, whole, rounded, tmp_path / "ladder.json")
    assert good.returncode == 0, good.stderr
    ladder = json.loads((tmp_path / "ladder.json").read_text())
    found, kept = ladder["losses"], ladder["kept"]
    assert list(found) == ["base", "adapter", "fused", "q5"]
    assert ladder["rows"] == 9 and ladder["tokens"] > 9
    assert found["adapter"] < found["base"] - 0.05
    assert math.isclose(found["fused"], found["adapter"], rel_tol=1e-3)
    assert kept["fused"] > 0.999 and kept["q5"] < 0.1
    share = f"q5 keeps {kept['q5']:.1%} of the adapter's gain"
    assert ladder["warnings"] == [share]
    assert ladder["summary"].endswith(f"**Warning**: {share}.")
    trained = json.loads((tmp_path / "adapters/training.json").read_text())
    assert math.isclose(found["adapter"], trained["best_val_loss"], rel_tol=1e-6)
    # As the fused model, it ends the run.
    bad = measure(coarse, tmp_path, rounded, whole, tmp_path / "bad.json")
    assert bad.returncode == 1 and not (tmp_path / "bad.json").exists()
    assert f"the adapter has vanished: fused keeps {kept['q5']:.1%} of its gain" in bad.stderr
    assert bad.stderr.count("\n") == 1


def losses(base, adapter, fused, q5) -> dict:
    return {"base": base, "adapter": adapter, "fused": fused, "q5": q5}


@pytest.mark.parametrize(
    ("found", "q5", "warnings"),
    [
        (losses(2.0, 1.0, 1.0, 1.05), 0.95, 0),
        (losses(2.0, 1.0, 1.0, 1.2), 0.8, 1),
        (losses(2.0, 1.0, 1.2, 1.2), 0.8, 2),
        (losses(2.0, 1.0, 1.0, 2.5), -0.5, 1),
        (losses(2.0, 2.0, 2.0, 2.0), None, 1),
        (losses(2.0, 3.0, 3.0, 3.0), None, 1),
    ],
)
def test_shares_of_the_gain(found, q5, warnings):
    kept, said = judge(found)
    assert len(said) == warnings and kept["q5"] == (q5 and pytest.approx(q5))
    assert summarize(found, kept, said).count("**Warning**") == warnings


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (losses(2.0, 1.0, 1.95, 1.0), "the adapter has vanished"),
        (losses(2.0, 1.0, math.nan, 1.0), "loss of fused is nan"),
        (losses(2.0, 1.0, 1.0, math.nan), "loss of q5 is nan"),
        (losses(2.0, math.nan, 2.0, 2.0), "loss of adapter is nan"),
    ],
)
def test_a_lost_adapter_or_a_nan_ends_the_run(found, why):
    with pytest.raises(Failed, match=why):
        judge(found)


@pytest.mark.parametrize(("rows", "most", "size"), [(123, 4, 3), (40, 2, 2), (7, 4, 1), (3, 8, 3)])
def test_no_row_is_left_out_of_a_loss(rows, most, size):
    assert batch_size(rows, most) == size
