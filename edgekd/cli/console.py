"""Where things are printed: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

import typer


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def complain(error: Exception, *, trace: bool) -> None:
    if trace:
        traceback.print_exception(error)
    print(f"edgekd: {error}", file=sys.stderr)


def print_version(asked: bool) -> None:
    if asked:
        from edgekd import __version__

        typer.echo(f"edgekd {__version__}")
        raise typer.Exit


def parse_duration(text: str) -> float:
    """`90`, `90s`, `8m`, `1h30m` to seconds."""
    import re

    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.replace(" ", ""))
    if not text or match is None:
        raise typer.BadParameter(f"{text!r}: write it like 90s, 8m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
