"""eval.json: what is written of each answer, and how."""

import json
import os
from pathlib import Path

from score import score_answer


def progress_line(done: int, total: int, prompt: dict, answer: dict) -> str:
    """One answered prompt for the terminal."""
    scored = score_answer(prompt, answer["text"], answer["calls"])
    return (
        f"[{done:3}/{total}] {prompt['id']:<10} {scored['score']:4.2f}  {scored['format']:<12}"
        f" {answer['completion_tokens']:5} tokens {answer['seconds']:7.1f} s"
    )


def entry_of(prompt: dict, answer: dict | None, error: str) -> dict:
    """A prompt's entry in eval.json; without an answer its scores are None and `error` says why."""
    head = {"id": prompt["id"], "category": prompt["category"]}
    if answer is None:
        nothing = {"score": None, "strict_score": None, "format": "none", "tools_called": []}
        return head | nothing | {"keywords_found": [], "text": "", "error": error}
    keys = ("finish_reason", "prompt_tokens", "completion_tokens", "seconds", "attempts", "text")
    return {
        **head,
        **score_answer(prompt, answer["text"], answer["calls"]),
        **{key: answer[key] for key in keys},
        **({"thinking": answer["thinking"]} if answer["thinking"] else {}),
    }


def write_result(out: Path, head: dict, entries, tail_of) -> dict:
    """Write eval.json: `head`, the prompts one by one, then `tail_of(scores)`; returns the tail.

    Only the scores of the prompts are held in memory.
    """
    staging, scored = out.with_name(out.name + ".tmp"), []
    with staging.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}"))
        stream.write(',\n  "prompts": [')
        for number, entry in enumerate(entries):
            scored.append({key: entry[key] for key in ("category", "score", "strict_score")})
            stream.write(",\n" if number else "\n")
            stream.write(json.dumps(entry, indent=2, ensure_ascii=False))
        stream.write("\n  ],")
        tail = tail_of(scored)
        stream.write(json.dumps(tail, indent=2, ensure_ascii=False).removeprefix("{") + "\n")
    os.replace(staging, out)
    return tail
