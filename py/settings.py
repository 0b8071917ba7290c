"""The settings of an experiment: an env file, and what the environment overrides of it."""

import os
from pathlib import Path

from dotenv import dotenv_values

SCHEMA = Path(__file__).resolve().parent.parent / "phase40.env"  # has every key there is


def load_settings(config: Path) -> dict[str, str]:
    """KEY -> value of the env file `config`; a KEY in the environment wins.

    Make puts what its command line overrides into the environment, so a program reads the same
    settings under make and by hand. Raises ValueError when there is no such file, or when a key is
    missing.
    """
    if not config.is_file():
        raise ValueError(f"{config}: no such config")
    settings = dotenv_values(config, interpolate=False)
    settings = {key: os.environ.get(key, value) for key, value in settings.items()}
    known = dotenv_values(SCHEMA, interpolate=False)
    if missing := [key for key in known if not settings.get(key)]:
        raise ValueError(f"{config}: {missing[0]} is missing; copy its line from phase40.env")
    return settings


def number(settings: dict[str, str], key: str, kind=int):
    """settings[key] as a number. Raises ValueError naming the key."""
    try:
        return kind(settings[key])
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key}={settings[key]}: expected {what}") from error
