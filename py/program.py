"""Run a program of the recipe. What goes wrong is one line on stderr, never a traceback."""

import sys
from pathlib import Path


class Failed(Exception):
    """The input can be used, but the work did not succeed: exit status 1. Its text is one line."""


def describe(error: Exception) -> str:
    """The message of an exception in one line, with its type unless it is one of ours."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).splitlines())
    return text if isinstance(error, (ValueError, Failed)) else f"{type(error).__name__}: {text}"


def run(main) -> None:
    """Call main() and exit: with its status or 0, 1 for Failed, 2 for input that can't be used."""
    status = 2
    try:
        sys.exit(main())
    except Failed as error:
        status, text = 1, describe(error)
    except (ValueError, OSError) as error:
        text = describe(error)
    except KeyboardInterrupt:
        status, text = 130, "interrupted"
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr)
    sys.exit(status)
