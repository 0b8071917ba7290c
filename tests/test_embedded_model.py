"""The model made from the GGUF answers as SmolLM2 does, token by token."""

import json
import subprocess

import pytest

import embedded_model
from conftest import ROOT


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    from mlx_lm import load

    folder = tmp_path_factory.mktemp("embedded") / "base"
    command = [ROOT / "bin/python", ROOT / "py/models.py", "--config", ROOT / "demo.env"]
    command += ["--out", folder]
    subprocess.run(command, check=True, timeout=120)
    return load(str(folder))


def greedy(model, tokenizer, question: str, tokens: int) -> list[int]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True
    )
    answer = []
    for token, _ in generate_step(mx.array(prompt), model, max_tokens=tokens):
        answer.append(int(token))
        if token in tokenizer.eos_token_ids:
            break
    return answer


# The run that these are from was checked against two other implementations: its float32 weights
# against the gguf package's, and these tokens against transformers with torch.
SEASONS = "504 1876 12064 282 260 713 359 42 1116 33 30 11652 365 16242 29 9389"
OPPOSITE = "504 7011 282 3380 314 4011 30 669 314 253 4959 1909 281 2092 284 1835"
ANSWERS = {
    "What is the capital of France?": "504 3575 282 4649 314 7042 30 2",
    "Name the four seasons of the year.": SEASONS,
    "What is the opposite of hot?": OPPOSITE,
}


@pytest.mark.parametrize("question", ANSWERS)
def test_greedy_answers_are_right_token_by_token(embedded, question):
    answer = greedy(*embedded, question, 16)
    assert answer == list(map(int, ANSWERS[question].split()))
    if "France" in question:
        assert "The capital of France is Paris." in embedded[1].decode(answer)


def test_everything_is_float32_and_nothing_is_quantized(embedded):
    import mlx.core as mx
    from mlx.utils import tree_flatten

    model, _ = embedded
    assert {value.dtype for _, value in tree_flatten(model.parameters())} == {mx.float32}
    assert len(model.layers) == 30


def test_special_tokens_and_template(embedded):
    _, tokenizer = embedded
    wanted = json.loads((ROOT / "data/special_tokens_smollm2.json").read_text())["tokens"]
    for token, id in wanted.items():
        assert tokenizer.encode(token, add_special_tokens=False) == [id]
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "a 12"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    start, end = "<|im_start|>", "<|im_end|>\n"
    assert text == f"{start}system\nS{end}{start}user\na 12{end}{start}assistant\n"
    code = "def f(x):\n    return x  # 123 é"
    assert tokenizer.decode(tokenizer.encode(code)) == code


def test_a_missing_package_is_said():
    with pytest.raises(ValueError, match="is not installed; run `make setup CONFIG=demo.env`"):
        embedded_model.find_gguf("no-such-package")
