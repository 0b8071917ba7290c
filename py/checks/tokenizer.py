"""Is the base model's tokenizer the one that the training format was made for?

Phase 25 trained a Mistral on rows written for Qwen and scored 0%: its tokenizer had none of the
special tokens, so every row was a different text to it. BASE_MODEL's tokenizer is compared with
REFERENCE_MODEL's from their files, part by part; check_rows compares what they make of the rows.
"""

import filecmp
import json
from pathlib import Path

from tokenizers import Tokenizer

from checks import finding
from files import read_json
from show import some

FIX = (
    "trained like this a model learns nothing (Phase 25: 0%); choose a BASE_MODEL with"
    " REFERENCE_MODEL's tokenizer, or fetch the files of both again if they were edited;"
    " SPECIAL_TOKENS lists the tokens that the rows need"
)
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MISSING = "missing"
DEFAULTED = ("normalizer", "pre_tokenizer", "decoder", "added_tokens")
END_FIX = "give both the same bos, eos and pad token in tokenizer_config.json"


def read_special_tokens(path: Path) -> tuple[dict[str, int], range]:
    """({token: id}, the range of ids that must be equal) of a data/special_tokens_*.json.

    Raises ValueError when the file is malformed.
    """
    content = read_json(path)
    tokens, ids = content.get("tokens"), content.get("equal_ids")
    if not isinstance(tokens, dict) or not all(type(id) is int for id in tokens.values()):
        raise ValueError(f"{path}: 'tokens' must be an object of ids")
    if not isinstance(ids, list) or len(ids) != 2 or not all(type(id) is int for id in ids):
        raise ValueError(f"{path}: 'equal_ids' must be [first, last]")
    if not 0 <= ids[0] <= ids[1] < 2**31:
        raise ValueError(f"{path}: 'equal_ids' must be [first, last], from 0 upwards")
    return tokens, range(ids[0], ids[1] + 1)


def check_special_tokens(tokenizers: dict, path: Path) -> list[dict]:
    """Are the format's tokens single, with the registered ids, and the range equal in both?"""
    tokens, ids = read_special_tokens(path)
    wrong = []
    for key, tokenizer in tokenizers.items():
        for token, id in tokens.items():
            found = tokenizer.encode(token, add_special_tokens=False)
            if len(found) > 1:
                wrong.append(f"{key}: {token} is no token but {len(found)} pieces")
            elif found != [id]:
                wrong.append(f"{key}: {token} has id {found[0] if found else MISSING}, not {id}")
    here, there = ([t.convert_ids_to_tokens(id) for id in ids] for t in tokenizers.values())
    for id, ours, theirs in zip(ids, here, there, strict=True):
        if ours != theirs or ours is None:
            wrong.append(f"id {id} is {ours or MISSING} here, {theirs or MISSING} there")
    return [
        finding(
            "tokenizer.special_tokens",
            "fail" if wrong else "ok",
            "special tokens of the training format",
            some(wrong) or f"{len(tokens)} tokens as registered, ids {ids[0]} to {ids[-1]} equal",
            FIX,
        )
    ]


def describe_tokenizer(folder: Path, tokenizer) -> dict:
    """tokenizer.json's content, from the file or, where a model has none, as it was built."""
    path = folder / "tokenizer.json"
    if path.is_file():
        return read_json(path)
    backend = getattr(tokenizer._tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str()) if backend else {}


def canonical(path: Path, description: dict) -> dict:
    """A tokenizer.json with every default written out, as the tokenizers library saves it."""
    try:
        return json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception:  # the library's are bare; what it cannot read is compared as it is
        return description


def vocabulary_of(description: dict) -> dict[str, int]:
    """Token -> id of a tokenizer.json's model: an object, or for Unigram a list of pairs."""
    vocabulary = description.get("model", {}).get("vocab") or {}
    if isinstance(vocabulary, list):
        return {piece: id for id, (piece, _) in enumerate(vocabulary)}
    return vocabulary


def different_ids(here: dict[str, int], there: dict[str, int]) -> list[str]:
    """'token: id here, id there' of every token whose id differs, in the order of the ids."""
    if here == there:
        return []
    tokens = [t for t in {**there, **here} if here.get(t) != there.get(t)]
    tokens.sort(key=lambda token: there.get(token, here.get(token)))
    return [f"{t!r}: {here.get(t, MISSING)} here, {there.get(t, MISSING)} there" for t in tokens]


def different_merges(here: list, there: list) -> list[str]:
    """The first rank at which two lists of merges part. A merge is "a b" or ["a", "b"]."""
    if here == there:  # which is quick, and the usual case
        return []
    pairs = [[m if isinstance(m, str) else " ".join(m) for m in merges] for merges in (here, there)]
    if pairs[0] == pairs[1]:
        return []
    equal = min(map(len, pairs))
    rank = next((i for i in range(equal) if pairs[0][i] != pairs[1][i]), equal)
    ours, theirs = (f"{merges[rank]!r}" if rank < len(merges) else MISSING for merges in pairs)
    sizes = f"{len(here):,} merges here, {len(there):,} there"
    return [f"merge {rank}: {ours} here, {theirs} there ({sizes})"]


def different_added_tokens(here: list[dict], there: list[dict]) -> list[str]:
    """Added tokens that only one side has, or whose id or flags differ."""
    sides = [{token["content"]: token for token in tokens} for tokens in (here, there)]
    found = []
    for token in {**sides[1], **sides[0]}:
        ours, theirs = (side.get(token) for side in sides)
        if ours is None or theirs is None:
            found.append(f"{token}: {MISSING} {'here' if ours is None else 'there'}")
            continue
        for field in ("id", *FLAGS):
            if ours.get(field) != theirs.get(field):
                found.append(f"{token}: {field} {ours.get(field)} here, {theirs.get(field)} there")
    return found


def different_parts(here, there, path: str = "") -> list[str]:
    """'where: value here, value there' of the first leaves at which two JSON values differ."""
    if here == there:
        return []
    if isinstance(here, dict) and isinstance(there, dict):
        pairs = [(key, here.get(key), there.get(key)) for key in {**there, **here}]
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = [(n, *pair) for n, pair in enumerate(zip(here, there, strict=True))]
    else:
        return [f"{path or 'all of it'}: {short(here)} here, {short(there)} there"]
    return [line for key, *pair in pairs for line in different_parts(*pair, f"{path}.{key}"[-40:])]


def short(value) -> str:
    """A JSON value in at most 60 characters."""
    if value is None:
        return "none"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def check_files(folders: dict, tokenizers: dict) -> list[dict]:
    """Are vocabulary, merges, normalizer, pre-tokenizer, added tokens and bos/eos/pad equal?"""
    files = [folder / "tokenizer.json" for folder in folders.values()]
    if all(file.is_file() for file in files) and filecmp.cmp(*files, shallow=False):
        ours = theirs = read_json(files[0])  # the usual case; a 10 MB file is not parsed twice
    else:
        ours, theirs = (describe_tokenizer(folders[key], tokenizers[key]) for key in folders)
    if any(ours.get(part) != theirs.get(part) for part in DEFAULTED):
        # A default may be written out in one file and left out in the other.
        ours, theirs = canonical(files[0], ours), canonical(files[1], theirs)
    merges = [side.get("model", {}).get("merges") or [] for side in (ours, theirs)]
    added = [side.get("added_tokens") or [] for side in (ours, theirs)]
    vocabulary = [vocabulary_of(side) for side in (ours, theirs)]
    names = ("bos_token", "eos_token", "pad_token")
    ends = [{name: getattr(t, name) for name in names} for t in tokenizers.values()]
    parts = {
        "vocabulary": (
            different_ids(*vocabulary),
            f"{len(vocabulary[0]):,} tokens here, {len(vocabulary[1]):,} there",
        ),
        "merges": (different_merges(*merges), f"{len(merges[0]):,} merges"),
        "normalizer": (
            different_parts(ours.get("normalizer"), theirs.get("normalizer")),
            short(ours.get("normalizer")),
        ),
        **{
            part: (
                different_parts(ours.get(part), theirs.get(part)),
                (ours.get(part) or {}).get("type", "none"),
            )
            for part in ("pre_tokenizer", "decoder")
        },
        "added_tokens": (different_added_tokens(*added), f"{len(added[0])} with their flags"),
        "bos_eos_pad": (
            different_parts(*ends),
            ", ".join(f"{name[:3]} {token or 'none'}" for name, token in ends[0].items()),
        ),
    }
    return [
        finding(
            f"tokenizer.{part}",
            "fail" if differences else "ok",
            f"{part} of both tokenizers",
            some(differences) + (f" ({size})" if part == "vocabulary" else "")
            if differences
            else f"equal: {size}",
            END_FIX if part == "bos_eos_pad" else FIX,
        )
        for part, (differences, size) in parts.items()
    ]


def check_tokenizer(folders: dict, tokenizers: dict, special_tokens: Path) -> list[dict]:
    """All findings. `folders` and `tokenizers` hold the base first and the reference second."""
    return [
        *check_special_tokens(tokenizers, special_tokens),
        *check_files(folders, tokenizers),
    ]
