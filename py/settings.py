"""The settings of an experiment: phase40.env, and the lines of CONFIG that differ from it."""

import os
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent.parent
ALL = ROOT / "phase40.env"  # names every key there is
OWN = ROOT / "data/own.env"  # is read before a config with rows of its own


def load_settings(config: Path | None = None) -> dict[str, str]:
    """KEY -> value: of the env file `config`, else what Make exports, else of phase40.env.

    Make has checked its own files and command line (bin/settings.sh). Raises ValueError when there
    is no such file, or when it has a key that phase40.env has not.
    """
    if config is None and "SETTINGS" in os.environ:
        settings = dict(word.split("=", 1) for word in os.environ["SETTINGS"].split())
    else:
        settings = read_files(config)
    if settings["REFERENCE_MODEL"] == "none":
        settings["REFERENCE_MODEL"] = settings["BASE_MODEL"]
    return settings


def read_files(config: Path | None) -> dict[str, str]:
    """The settings as bin/settings.mk reads them, without Make's command line."""
    settings = dotenv_values(ALL, interpolate=False)
    if config is None:
        return settings
    if not config.is_file():
        raise ValueError(f"{config}: no such config")
    changes = dotenv_values(config, interpolate=False)
    if unknown := sorted(set(changes) - set(settings)):
        raise ValueError(
            f"{config}: unknown key {unknown[0]}; phase40.env lists the keys there are"
        )
    if changes.get("DATA", settings["DATA"]) != settings["DATA"]:
        settings |= dotenv_values(OWN, interpolate=False)
    return settings | changes


def add_config(parser) -> None:
    """Give an argument parser the option --config, for load_settings()."""
    parser.add_argument("--config", type=Path, help="env file; make passes the settings by itself")


def secret(key: str) -> str:
    """A secret, from the environment or from the file .env, which git ignores; "" without one."""
    return os.environ.get(key) or dotenv_values(ROOT / ".env").get(key) or ""


def number(settings: dict[str, str], key: str, kind=int):
    """settings[key] as a number. Raises ValueError naming the key."""
    try:
        return kind(settings[key])
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key}={settings[key]}: expected {what}") from error
