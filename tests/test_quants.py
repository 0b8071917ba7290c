"""`make quants` sets other bits beside those of the build, and asks nothing twice."""

import json
import shutil

import pytest

from settings import load_settings
from shapes import model_facts
from test_pipeline import weight_bytes

MIXED = "mixed_4_6-64"


def quants(make, config):
    """Run `make quants` with the bits of q5, and with a recipe."""
    run = make("quants", f"CONFIG={config}", f"QUANTS=5-64 {MIXED}")
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def tried(built, make):
    """(config, build folder, output) after one `make quants` in the session's build."""
    config, build, _ = built
    answers = (build / "answers.jsonl").read_bytes()
    yield config, build, quants(make, config)
    for folder in (build / "quants", *(build / "judged").glob("bits-*")):
        shutil.rmtree(folder)
    (build / "quants.md").unlink()
    (build / "answers.jsonl").write_bytes(answers)


def cells(build) -> dict[str, list[str]]:
    """Name of a variant -> the other cells of its line in quants.md."""
    table = (build / "quants.md").read_text().partition("\n\n")[0]
    lines = [line.replace(" ", "")[1:-1].split("|") for line in table.splitlines()[2:]]
    return {name: others for name, *others in lines}


def test_the_table_has_what_was_measured(tried):
    _, build, output = tried
    text = (build / "quants.md").read_text()
    assert output.endswith(text)
    assert list(cells(build)) == ["5-64", MIXED]
    for name, (_, bits, loss, score, strict, calls, speed) in cells(build).items():
        result = json.loads((build / f"judged/bits-{name}/eval.json").read_text())
        assert result["experiment"] == f"bits-{name}"
        assert score == f"{100 * result['overall']:g}%" and strict.endswith("%")
        assert calls == f"{100 * result['calls']['arguments']:g}%"
        assert 4 < float(bits) < 8 and float(loss) > 0 and float(speed) > 0
        assert f"- {name} against the build: 0 points" in text
    ladder = json.loads((build / "ladder.json").read_text())
    assert cells(build)["5-64"][2] == f"{ladder['losses']['q5']:.3f}" != cells(build)[MIXED][2]
    on_cpu = (build / "q5-float32").exists()
    assert ("On a CPU each is served as a float32 copy" in text) == on_cpu


def test_a_variant_is_served_and_described_as_q5_is(tried):
    config, build, _ = tried
    made = json.loads((build / f"quants/{MIXED}/config.json").read_text())["quantization"]
    assert {layer["bits"] for layer in made.values() if isinstance(layer, dict)} == {4, 6}
    for name, bits in (("5-64", "5"), (MIXED, "4 and 6")):
        card = (build / f"quants/{name}/README.md").read_text()
        assert f"then quantized to {bits} bits in groups of 64." in card
        result = json.loads((build / f"judged/bits-{name}/eval.json").read_text())
        assert result["server"]["tool_parser"] == "qwen3_coder"
    # Preflight knows the size of q5 with this recipe.
    shape = json.loads((build / "base/config.json").read_text())
    facts = model_facts(shape, load_settings(config) | {"Q_RECIPE": "mixed_4_6"})
    assert facts["q5_bytes"] == weight_bytes(build / f"quants/{MIXED}")


def test_nothing_is_asked_twice(tried, make):
    config, build, output = tried
    assert output.count("12 of 12 prompts are answered already") == 1  # q5 has the same weights
    kept = (build / "answers.jsonl").read_bytes()
    again = quants(make, config)
    assert again.count("12 of 12 prompts are answered already") == 2
    assert "mlx_lm convert" not in again and "py/ladder.py" not in again
    assert (build / "answers.jsonl").read_bytes() == kept


def test_low_memory_needs_no_fused_model(tried, make):
    config, build, _ = tried
    planned = make("-n", "quants", f"CONFIG={config}", "QUANTS=4-32", "LOW_MEMORY=1").stdout
    command = planned.partition("fuse_and_quantize.py")[2].partition("\n.venv")[0]
    assert f"{build}/adapters" in command and "--q-bits 4 --q-group-size 32" in command
    assert "mlx_lm convert" not in planned and "mlx_lm fuse" not in planned


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quants", "QUANTS=4-64 7-64"], "QUANTS: 7-64: expected BITS-GROUP"),
        (["quants", "QUANTS=mixed_4_6"], "QUANTS: mixed_4_6: expected BITS-GROUP"),
        (["quants", "QUANTS=4-16"], "QUANTS: 4-16: expected BITS-GROUP"),
        (["eval", "QUANTS=4-64"], "QUANTS=4-64: only these goals read it: quants"),
    ],
)
def test_bits_that_mlx_has_not_are_one_line(make, words, says):
    run = make(*words, "CONFIG=demo.env")
    assert run.returncode == 2 and says in run.stderr and len(run.stderr.splitlines()) == 1
