"""Putting a folder in the place of another: whole, or the old one stays."""

from __future__ import annotations

from pathlib import Path


def put_in_place(made: Path, folder: Path, aside: Path) -> None:
    """
    `made` becomes `folder`; what stood there goes `aside`, and comes back if anything stops us in between.

    All three lie in one file system.
    """
    if folder.exists():
        folder.replace(aside)
    try:
        made.replace(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.replace(folder)
        raise
