"""Digests: over values as canonical JSON, over folders as names and bytes (never dates or places)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgekd.errors import ConfigError


def digest_of(value: Any) -> str:
    """sha256 of canonical JSON; NaN and non-JSON values are refused rather than guessed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_named(path: str, where: str, way_out: str = "") -> str:
    """Of a file that a person named in the setting `where`. Raises ConfigError where there is none."""
    if not Path(path).is_file():
        raise ConfigError(f"{where}: {path}: no such file{way_out}")
    return digest_file(Path(path))


def digest_files(files: Mapping[str, Path]) -> str:
    """The digest of names and of what is in each file, read by several threads."""
    with ThreadPoolExecutor() as pool:
        return digest_of(sorted(zip(files, pool.map(digest_file, files.values()), strict=True)))


def digest_tree(folder: Path) -> str:
    """The same of all files below a folder but hidden ones."""
    names = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    hidden = {name for name in names if any(part.startswith(".") for part in name.parts)}
    return digest_files({name.as_posix(): path for name, path in names.items() if name not in hidden})


def digest_folder(kind: str, folder: Path) -> str:
    """The digest of an artifact of `kind` whose files are those below `folder`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return digest_of([kind, [[p.relative_to(folder).as_posix(), digest_file(p)] for p in files]])
