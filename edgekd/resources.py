"""What there is to work with: the YAML that ships with edgekd, and the cores of this machine."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from edgekd.errors import ConfigError

Kind = Literal["pipelines", "hw_profiles"]
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def shipped(kind: Kind) -> list[str]:
    folder = files("edgekd") / kind
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def find(kind: Kind, name: str) -> Traversable:
    """`name` is a path to a YAML file of the person's, or the name of one that ships in `kind`."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{name}: no such file; `edgekd {_command(kind)} list` names what ships")
        return path
    names = shipped(kind)
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"shipped: {', '.join(names)}"
        raise ConfigError(f"{_command(kind)}: no {name!r}; {hint} A path must end in .yaml")
    return files("edgekd") / kind / f"{name}.yaml"


def read(kind: Kind, name: str) -> str:
    """The text of what `find` finds."""
    try:
        return find(kind, name).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None


def _command(kind: Kind) -> str:
    return "pipelines" if kind == "pipelines" else "devices"


def cores() -> int:
    """The cores that this process may use; more than eight pay nowhere in what edgekd trains."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 8)


def keep_memory() -> None:
    """
    Memory that was freed stays with the process where glibc is: a training asks for the same large pieces in every
    step, and pieces from the kernel come page by page (170 instead of 300 thousand page faults in 14 steps of a
    ResNet-20 with a batch of 128).
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MMAP_THRESHOLD, 2**30)
