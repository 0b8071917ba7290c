"""Models of a hub: asked for once, only the files that are needed, one line for an error."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, clean_environment, write_config
from hub import hub
from settings import load_settings


@pytest.fixture
def models(tiny_model, tmp_path):
    """Name -> folder of two models for a hub. Nobody needs the weights of the reference."""
    for name in ("base", "reference"):
        shutil.copytree(tiny_model, tmp_path / name)
    return {"org/base": tmp_path / "base", "org/reference": tmp_path / "reference"}


def config_of(tiny_config, tmp_path, **changes):
    """The tiny experiment with its models on the hub, and a build folder of its own."""
    settings = load_settings(tiny_config)
    settings |= {"BASE_MODEL": "org/base", "REFERENCE_MODEL": "org/reference"}
    settings |= {"BUILD": tmp_path / "build", "BASELINE": "data/baseline.json"} | changes
    return write_config(tmp_path / "hub.env", **settings)


def weights(asked):
    return [path for method, path in asked if path.endswith(".safetensors") and method == "GET"]


def test_make_takes_models_of_a_hub_and_asks_it_once(models, tiny_config, tmp_path, make):
    config, build = config_of(tiny_config, tmp_path), tmp_path / "build"
    cache = tmp_path / "my cache"  # an external disk's name, say
    with hub(models, cache) as (environment, asked):
        run = make("preflight", f"CONFIG={config}", **environment)
        assert run.returncode == 0, run.stdout + run.stderr
        assert weights(asked) == []  # not before preflight has passed
        run = make("quantize", f"CONFIG={config}", **environment)
        assert run.returncode == 0, run.stdout + run.stderr
        fetched = weights(asked)
        assert len(fetched) == 1 and fetched[0].startswith("org/base/resolve/")
        asked.clear()
        (models["org/base"] / "README.md").write_text("a new revision")
        again = make("quantize", f"CONFIG={config}", **environment)
        assert "Nothing to be done" in again.stdout and asked == []
        run = make("quantize", f"CONFIG={config}", "Q_BITS=4", **environment)
        assert run.returncode == 0 and asked == [], run.stderr
    revisions = json.loads((build / "models.json").read_text())
    assert set(revisions) == set(models) and all(len(sha) == 40 for sha in revisions.values())
    assert f"revision={revisions['org/base']}" in (build / "made/train").read_text()
    facts = json.loads((build / "preflight.json").read_text())["facts"]["models"]
    assert facts["BASE_MODEL"] == {"model": "org/base", "revision": revisions["org/base"]}
    adapter = json.loads((build / "adapters/adapter_config.json").read_text())
    assert adapter["model"] == "org/base"
    # Without a hub, a step that runs again takes the noted revision.
    shutil.rmtree(build / "fused")
    offline = {"HF_HOME": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9"}
    run = make("fuse", f"CONFIG={config}", **offline)
    assert run.returncode == 0, run.stderr


def test_a_model_lost_from_the_cache_comes_back_at_the_same_revision(
    models, tiny_config, tmp_path, make
):
    config, note = config_of(tiny_config, tmp_path), tmp_path / "build/models.json"
    with hub(models, tmp_path / "cache") as (environment, asked):
        assert make("preflight", f"CONFIG={config}", **environment).returncode == 0
        first = note.read_text()
        shutil.rmtree(tmp_path / "cache/hub/models--org--base")
        asked.clear()
        run = make("train", f"CONFIG={config}", "EPOCHS=0.0799", **environment)
        assert run.returncode == 0, run.stderr
        assert note.read_text() == first
        assert not any(path.endswith("revision/main") for _, path in asked)


REFUSALS = {
    "gated": ((403, "GatedRepo", ""), "a gated model: accept its terms"),
    "missing": ((401, "RepoNotFound", ""), "no such model, or a private one"),
    "wrong token": (
        (401, "", "Invalid credentials in Authorization header"),
        "HF_TOKEN is not a valid token",
    ),
    "forbidden": ((403, "", "Forbidden"), "HF_TOKEN has no access to it"),
}


def find_base(config, environment):
    """py/models.py asks for the base model of `config`, as the Makefile has it do."""
    config.parent.joinpath("build").mkdir(exist_ok=True)
    command = [ROOT / "bin/python", ROOT / "py/models.py", "--config", config]
    return subprocess.run(
        list(map(str, [*command, "--out", config.parent / "link"])),
        env=clean_environment() | {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(config, environment, says):
    """One line, nothing made, and no token in it."""
    run = find_base(config, environment)
    said = run.stdout + run.stderr
    assert run.returncode == 2 and len(said.splitlines()) == 1, said
    assert said.startswith("models: org/base") and says in said and "hf_secret" not in said
    assert not (config.parent / "link").exists()


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_model_that_is_refused_is_one_line(models, tiny_config, tmp_path, refusal):
    answer, says = REFUSALS[refusal]
    config = config_of(tiny_config, tmp_path)
    with hub(models, tmp_path / "cache", {"org/base": answer}) as (environment, _):
        refused(config, environment, says)


def test_no_network_and_no_such_revision_are_one_line(models, tiny_config, tmp_path):
    config = config_of(tiny_config, tmp_path)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    refused(config, nowhere, "not downloaded yet, and there is no network")
    refused(config, nowhere | {"HF_HUB_OFFLINE": "1"}, "and HF_HUB_OFFLINE is set")
    config = config_of(tiny_config, tmp_path, BASE_MODEL="org/base@v9")
    with hub(models, tmp_path / "cache") as (environment, _):
        refused(config, environment, "the model has no such revision")


def test_a_revision_can_be_named(models, tiny_config, tmp_path):
    with hub(models, tmp_path / "cache") as (environment, asked):
        assert find_base(config_of(tiny_config, tmp_path), environment).returncode == 0
        revision = json.loads((tmp_path / "build/models.json").read_text())["org/base"]
        asked.clear()
        (tmp_path / "link").unlink()
        config = config_of(tiny_config, tmp_path, BASE_MODEL=f"org/base@{revision}")
        assert find_base(config, environment).returncode == 0
        noted = json.loads((tmp_path / "build/models.json").read_text())
        assert noted[f"org/base@{revision}"] == revision
        assert not any(path.endswith("revision/main") for _, path in asked)


def test_a_plan_needs_no_hub_where_the_shape_is_known(tmp_path, make):
    """`make plan` of the real run, with nothing downloaded: it asks nobody and makes nothing."""
    words = [f"BUILD={tmp_path}/build", "DATA=data/demo", "TRAIN_ROWS=401", "EPOCHS=7.98"]
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    run = make("plan", *words, **offline)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^  preflight.ok +yes ", run.stdout, re.MULTILINE)
    assert "download    4.6 GB to come from the hub" in run.stdout
    assert "9.699M" in run.stdout and "44.44%" in run.stdout
