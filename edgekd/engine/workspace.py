"""Where a workspace is and how large it may grow: options, else the environment, else the platform's cache folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.errors import ConfigError


def default_workspace() -> Path:
    if home := os.environ.get("EDGEKD_HOME"):
        return Path(home)
    from platformdirs import user_cache_path

    return user_cache_path("edgekd", appauthor=False)


@contextmanager
def temporary_files_in(root: Path) -> Iterator[None]:
    """Until the block ends, Python's and torch's temporary files go below the workspace; child processes' too."""
    folder = (root / "tmp").absolute()  # some change the working directory before they ask for a file
    folder.mkdir(parents=True, exist_ok=True)
    places = {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    before, chosen = {name: os.environ.get(name) for name in places}, tempfile.tempdir
    os.environ.update(places)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = chosen
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def size_cap_bytes() -> int:
    """EDGEKD_CACHE_MAX_GIB, or 20 GiB: past that, what was used longest ago goes after a build."""
    text = os.environ.get("EDGEKD_CACHE_MAX_GIB", "20")
    try:
        cap = float(text)
    except ValueError:
        cap = -1.0
    if not 0 < cap < 2**30:
        raise ConfigError(f"EDGEKD_CACHE_MAX_GIB: {text!r} is no size in GiB; write it like 20 or 0.5")
    return int(cap * 2**30)
