"""Code of the person's own, from a file: run only after its owner said so, and only as it was then."""

from __future__ import annotations

import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError, first_line


def run_file(path: Path, digest: str | None) -> ModuleType:
    """The module that a file makes. Raises ConfigError where it changed since it was allowed, or fails."""
    if digest_file(path) != digest:
        raise ConfigError(f"{path}: changed since it was allowed to run; read it and start again")
    spec = importlib.util.spec_from_file_location(f"edgekd_code_{digest[:12]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"{path}: fails when it runs: {type(error).__name__}: {first_line(error)} (it is run as one file, without "
            "those beside it)"
        ) from error
    return module


def member(module: ModuleType, name: str, setting: str) -> Any:
    """What a module calls `name`. Raises ConfigError."""
    if not callable(found := getattr(module, name, None)):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = get_close_matches(name, own, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(own) or 'none'}"
        raise ConfigError(f"{setting}: {module.__file__} has no function {name!r}; {hint}")
    return found
