"""The loss ladder: it tells an adapter that survived from one that was rounded away."""

import json
import math

import pytest

from conftest import ROOT
from ladder import judge, summarize
from loss import batch_size
from training import best, run, run_training


@pytest.fixture(scope="module")
def coarse(tiny_model, tmp_path_factory):
    """The tiny model at 4 bits: a base whose grid is too coarse for a small adapter."""
    folder = tmp_path_factory.mktemp("coarse") / "model"
    words = ["--hf-path", tiny_model, "--mlx-path", folder, "-q", "--q-bits", 4]
    made = run(ROOT / "bin/python", "-m", "mlx_lm", "convert", *words, "--q-group-size", 64)
    assert made.returncode == 0, made.stderr
    return folder


def climb(base, adapters, fused, q5, out):
    words = ["--model", base, "--adapters", adapters, "--fused", fused, "--q5", q5, "--out", out]
    return run(ROOT / "bin/python", ROOT / "py/ladder.py", *words)


def fuse(base, adapters, out, *options):
    words = ["--model", base, "--adapter-path", adapters, "--save-path", out, *options]
    made = run(ROOT / "bin/python", "-m", "mlx_lm", "fuse", *words)
    assert made.returncode == 0, made.stderr
    return out


def test_an_adapter_fused_into_a_coarse_base_is_missed(lora, coarse, tmp_path):
    """Fused without --dequantize, as mlx_lm fuse does by default: the trap itself."""
    options = {"model": coarse, "learning_rate": 2e-6}
    assert run_training(lora(tmp_path / "adapters.tmp", **options)).returncode == 0
    assert best(tmp_path / "adapters.tmp", tmp_path / "adapters").returncode == 0
    whole = fuse(coarse, tmp_path / "adapters", tmp_path / "whole", "--dequantize")
    rounded = fuse(coarse, tmp_path / "adapters", tmp_path / "rounded")
    good = climb(coarse, tmp_path / "adapters", whole, rounded, tmp_path / "ladder.json")
    assert good.returncode == 0, good.stderr
    ladder = json.loads((tmp_path / "ladder.json").read_text())
    losses, kept = ladder["losses"], ladder["kept"]
    assert list(losses) == ["base", "adapter", "fused", "q5"]
    assert ladder["rows"] == 9 and ladder["tokens"] > 9
    assert losses["adapter"] < losses["base"] - 0.05
    assert math.isclose(losses["fused"], losses["adapter"], rel_tol=1e-3)
    assert kept["fused"] > 0.999 and kept["q5"] < 0.1
    share = f"q5 keeps {kept['q5']:.1%} of the adapter's gain"
    assert ladder["warnings"] == [share] and f"ladder: WARNING: {share}" in good.stderr
    assert ladder["summary"].endswith(f"**Warning**: {share}.")
    trained = json.loads((tmp_path / "adapters/training.json").read_text())
    assert math.isclose(losses["adapter"], trained["best_val_loss"], rel_tol=1e-6)
    # in the place of the fused model it ends the run
    bad = climb(coarse, tmp_path / "adapters", rounded, whole, tmp_path / "bad.json")
    assert bad.returncode == 1 and not (tmp_path / "bad.json").exists()
    assert f"the adapter has vanished: fused keeps {kept['q5']:.1%} of its gain" in bad.stderr
    assert bad.stderr.count("\n") == 1


def ladder(base, adapter, fused, q5):
    return {"base": base, "adapter": adapter, "fused": fused, "q5": q5}


@pytest.mark.parametrize(
    ("losses", "q5", "warns", "fails"),
    [
        (ladder(2.0, 1.0, 1.0, 1.05), 0.95, 0, False),
        (ladder(2.0, 1.0, 1.0, 1.2), 0.8, 1, False),
        (ladder(2.0, 1.0, 1.2, 1.2), 0.8, 2, False),
        (ladder(2.0, 1.0, 1.0, 2.5), -0.5, 1, False),
        (ladder(2.0, 1.0, 1.95, 1.0), 1.0, 0, True),
        (ladder(2.0, 1.0, math.nan, 1.0), None, 0, True),
        (ladder(2.0, 1.0, 1.0, math.nan), None, 0, True),
        (ladder(2.0, 2.0, 2.0, 2.0), None, 1, False),
        (ladder(2.0, 3.0, 3.0, 3.0), None, 1, False),
        (ladder(2.0, math.nan, 2.0, 2.0), None, 0, True),
    ],
)
def test_shares_of_the_gain(losses, q5, warns, fails):
    kept, warnings, fatal = judge(losses)
    assert (len(warnings), fatal is not None) == (warns, fails)
    assert kept["q5"] is None if q5 is None else math.isclose(kept["q5"], q5)
    summarize({"losses": losses, "kept": kept, "warnings": warnings})


@pytest.mark.parametrize(("rows", "most", "size"), [(123, 4, 3), (40, 2, 2), (7, 4, 1), (3, 8, 3)])
def test_no_row_is_left_out_of_a_loss(rows, most, size):
    assert batch_size(rows, most) == size
