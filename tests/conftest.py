"""What the tests share: the path to py/, ways to run make, and a tiny model with its experiment."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dotenv import dotenv_values

# A job in the background ignores Ctrl-C, and so do its children. Some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["experiment", "taught", "training"]
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "py"), str(ROOT / "data/demo")]

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


# bin/python has a folder for temporary files in .venv. Those of the tests go where pytest's belong.
os.environ.pop("TMPDIR", None)


def clean_environment() -> dict[str, str]:
    """The environment without what an outer make, or bin/python, passes on."""
    dropped = ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "SETTINGS", "MAKING")
    dropped += ("HF_HUB_OFFLINE", "HF_HUB_CACHE")
    return {key: value for key, value in os.environ.items() if key not in dropped}


def wait_for(fact) -> None:
    """Return as soon as fact() is true; fails after a minute."""
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, "waited a minute in vain"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def make():
    """make(*arguments, **environment) runs make in the repository; `input` is what is typed."""

    def run(*arguments, input=None, **environment):
        return subprocess.run(
            ["make", *map(str, arguments)],
            cwd=ROOT,
            env=clean_environment() | environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def start_make(*words, output=subprocess.DEVNULL) -> subprocess.Popen:
    """make in a process group of its own, so that a test can kill it with all its children."""
    return subprocess.Popen(
        ["make", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def train_tokenizer(texts: list[str], path: Path) -> int:
    """Train a small byte-level BPE on `texts`, write it to `path`, return its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def write_tiny_model(folder: Path) -> Path:
    """A llama of 2 layers with random weights and a tokenizer trained on the demo's rows."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    rows = (ROOT / "data/demo/train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [m["content"] for row in rows for m in json.loads(row)["messages"]]
    folder.mkdir(parents=True)
    vocab_size = train_tokenizer(texts, folder / "tokenizer.json")
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocab_size,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "eos_token_id": 2,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    mx.random.seed(0)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def write_config(path: Path, **changes) -> Path:
    """An env file: the lines of demo.env, with `changes`."""
    settings = dotenv_values(ROOT / "demo.env") | changes
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


def write_tiny_config(folder: Path, model: Path) -> Path:
    """An env file for the whole pipeline on the tiny model: seconds from data to score."""
    suite = json.loads((ROOT / "data/suite.json").read_text())
    suite["prompts"] = suite["prompts"][:3] + suite["prompts"][-1:]
    (folder / "suite.json").write_text(json.dumps(suite))
    return write_config(
        folder / "tiny.env",
        EXPERIMENT="tiny",
        BUILD=folder / "build",
        BASE_MODEL=model,
        REFERENCE_MODEL=model,
        NUM_LAYERS=2,
        TRAINABLE=0.016384,
        ITERS=8,
        BATCH_SIZE=4,
        EPOCHS=0.08,
        STEPS_PER_EVAL=4,
        SAVE_EVERY=4,
        STEPS_PER_REPORT=4,
        SUITE=folder / "suite.json",
        EVAL_MAX_TOKENS=24,
    )


@pytest.fixture(scope="session")
def tiny_config(tiny_model, tmp_path_factory) -> Path:
    return write_tiny_config(tmp_path_factory.mktemp("experiment"), tiny_model)


@pytest.fixture(scope="session")
def built(tiny_config, make):
    """(config, build folder, output) after one `make eval`. A test that changes it puts it back."""
    run = make("eval", f"CONFIG={tiny_config}")
    assert run.returncode == 0, run.stdout + run.stderr
    return tiny_config, tiny_config.parent / "build", run.stdout


def made(output: str) -> list[str]:
    """Names of the outputs that a make run has made, or that a dry run would make."""
    lines = re.findall(r"^(?:bin/done.sh|made) (\S+)", output, re.MULTILINE)
    return [Path(line).name for line in lines]
