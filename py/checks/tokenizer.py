"""Is the base model's tokenizer the one that the training format was made for?

This file compares the tokenizer files of BASE_MODEL and REFERENCE_MODEL.
checks/rows.py compares the tokens that both make of the rows.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer

from checks import finding
from show import some
from suite import read_special_tokens

FIX = (
    "trained like this a model learns nothing (Phase 25: 0%); choose a BASE_MODEL with"
    " REFERENCE_MODEL's tokenizer, or fetch the files of both again if they were edited;"
    " SPECIAL_TOKENS lists the tokens that the rows need"
)
END_FIX = "give both the same bos, eos and pad token in tokenizer_config.json"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MISSING = "missing"


def check_special_tokens(tokenizers: dict, path: Path) -> dict:
    """Are the format's tokens single, with the registered ids, and the range equal in both?"""
    what = "special tokens of the training format"
    if str(path) == "none":
        return finding("tokenizer.special_tokens", "ok", what, "SPECIAL_TOKENS registers none")
    registered = read_special_tokens(path)
    tokens, (first, last) = registered["tokens"], registered["equal_ids"]
    wrong = []
    for key, tokenizer in tokenizers.items():
        for token, id in tokens.items():
            found = tokenizer.encode(token, add_special_tokens=False)
            if len(found) > 1:
                wrong.append(f"{key}: {token} is no token but {len(found)} pieces")
            elif found != [id]:
                wrong.append(f"{key}: {token} has id {found[0] if found else MISSING}, not {id}")
    for id in range(first, last + 1):
        ours, theirs = (t.convert_ids_to_tokens(id) for t in tokenizers.values())
        if ours != theirs or ours is None:
            wrong.append(f"id {id} is {ours or MISSING} here, {theirs or MISSING} there")
    evidence = some(wrong) or f"{len(tokens)} tokens as registered, ids {first} to {last} equal"
    return finding("tokenizer.special_tokens", "fail" if wrong else "ok", what, evidence, FIX)


def parts_of(folder: Path, tokenizer) -> dict[str, dict]:
    """The parts of tokenizer.json, each as {what: its value}, in the order of the findings.

    One file spells out the defaults that another leaves out, so they are filled in.
    """
    file = folder / "tokenizer.json"
    backend = Tokenizer.from_file(str(file)) if file.is_file() else tokenizer.backend_tokenizer
    content = json.loads(backend.to_str())
    vocabulary, merges = content["model"]["vocab"], content["model"].get("merges") or []
    if isinstance(vocabulary, list):  # [token, score] in the order of their ids
        vocabulary = {token: id for id, (token, _) in enumerate(vocabulary)}
    return {
        "vocabulary": vocabulary,
        "merges": {f"merge {rank}": merge for rank, merge in enumerate(merges)},
        **{key: content.get(key) or {} for key in ("normalizer", "pre_tokenizer", "decoder")},
        "added_tokens": {
            token["content"]: [token["id"], *(flag for flag in FLAGS if token.get(flag))]
            for token in content.get("added_tokens") or []
        },
    }


def compare(part: str, here: dict, there: dict, fix: str = FIX) -> dict:
    """The finding on one part of both tokenizers."""
    different = [
        f"{key}: {here.get(key, MISSING)!s:.60} here, {there.get(key, MISSING)!s:.60} there"
        for key in {**there, **here}
        if here.get(key) != there.get(key)
    ]
    evidence = f"{some(different) or 'equal'} ({len(here):,} here, {len(there):,} there)"
    level = "fail" if different else "ok"
    return finding(f"tokenizer.{part}", level, f"{part} of both tokenizers", evidence, fix)


def check_tokenizer(folders: dict, tokenizers: dict, special_tokens: Path) -> list[dict]:
    """All findings. `folders` and `tokenizers` hold the base first and the reference second."""
    ours, theirs = (parts_of(folders[key], tokenizers[key]) for key in folders)
    names = ("bos_token", "eos_token", "pad_token")
    ends = [{name: getattr(t, name) for name in names} for t in tokenizers.values()]
    return [
        check_special_tokens(tokenizers, special_tokens),
        *(compare(part, ours[part], theirs[part]) for part in ours),
        compare("bos_eos_pad", *ends, END_FIX),
    ]
