"""The curves: SVG and PNG, with the marks that a reader looks for."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import ROOT
from training import run


@pytest.fixture
def adapters(tmp_path):
    metrics = [{"iteration": n, "train_loss": 3 / n} for n in range(1, 40)]
    metrics += [
        {"iteration": n, "val_loss": None if n == 20 else 4 / (n + 1)} for n in (0, 19, 20, 39)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    training = {"best_iteration": 40, "best_val_loss": 0.1, "iterations": 45, "resumed_at": [20]}
    (tmp_path / "training.json").write_text(json.dumps(training | {"stopped_early": True}))
    return tmp_path


def plot(adapters, out):
    return run(ROOT / "bin/python", ROOT / "py/plot.py", adapters, "--out", out)


def test_curves_say_what_was_kept_resumed_and_stopped(adapters, tmp_path):
    assert plot(adapters, tmp_path / "curves").returncode == 0
    svg = (tmp_path / "curves.svg").read_text()
    ElementTree.fromstring(svg)
    for text in ("kept: iteration 40, loss 0.100", "resumed at 20", "stopped early at 45"):
        assert text in svg
    assert "validation" in svg and "training" in svg
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    plot(adapters, tmp_path / "curves")
    assert (tmp_path / "curves.svg").read_text() == svg
    assert not list(tmp_path.glob("*.tmp*"))


def test_nothing_to_draw_is_said_in_a_line(tmp_path):
    ended = plot(tmp_path, tmp_path / "curves")
    assert ended.returncode == 2 and "no metrics.jsonl to draw" in ended.stderr
    assert ended.stderr.count("\n") == 1
