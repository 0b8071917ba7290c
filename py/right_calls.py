"""In how many validation rows does a model make the right calls?

The rows are answered in this process, greedily, by mlx-lm's own batches: as its server would.
"""

from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import batch_generate

from chat_format import format_prompt
from client import split_thinking
from score import calls_in_text
from validation import mark, rows_to_ask

BATCH = 8  # rows at a time, as EVAL_CONCURRENCY has it


def rows_of(data: Path, limit: int, schemas: dict[str, dict]) -> list[dict]:
    """The rows that are asked, as rows_to_ask() has them. Raises ValueError if there is none."""
    rows, left_out = rows_to_ask(data, limit, schemas)
    if not rows:
        raise ValueError(
            f"{data}/valid.jsonl: no row to ask: {left_out} hold a call, and training has seen"
            " their prompts; make train RESUME=1 SELECT=loss goes by the loss"
        )
    return rows


def generate_answers(model, tokenizer, rows: list[dict]) -> list[str]:
    """The text of each answer."""
    model.eval()  # no dropout
    made = batch_generate(
        model,
        tokenizer,
        [format_prompt(tokenizer, row["messages"], row["tools"]) for row in rows],
        max_tokens=[row["max_tokens"] for row in rows],
        prefill_batch_size=BATCH,
        completion_batch_size=BATCH,
    )
    mx.clear_cache()
    return made.texts


def count_right(model, tokenizer, rows: list[dict], schemas: dict[str, dict]) -> int:
    """How many of the rows of rows_to_ask() get the right calls, with the right arguments."""
    right = 0
    for row, made in zip(rows, generate_answers(model, tokenizer, rows), strict=True):
        _, text = split_thinking(made)
        answer = {"text": text, "calls": calls_in_text(text, row["tools"])}
        right += mark(row, answer, schemas)["arguments"]
    return right
