"""The model that comes out of the GGUF is SmolLM2: it knows Paris, token by token."""

import subprocess

import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    from mlx_lm import load

    folder = tmp_path_factory.mktemp("embedded") / "base"
    command = [ROOT / "bin/python", ROOT / "py/embedded_model.py", "--out", folder]
    subprocess.run(command, check=True, timeout=120)
    return load(str(folder))


def greedy(model, tokenizer, question: str, tokens: int) -> list[int]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True
    )
    steps = generate_step(mx.array(prompt), model, max_tokens=tokens)
    return [token for token, _ in steps]
