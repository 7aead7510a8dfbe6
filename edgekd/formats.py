"""
The versions of every file format that people keep, and how older ones are read.

What lies inside the store has a `schema` too, but no older one is ever read: a stage whose files change raises its
version, and so has other keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from edgekd.errors import ConfigError

Kind = Literal[
    "pipeline", "device", "record", "lock", "manifest", "report", "baseline", "limits", "latencies", "devices"
]
Tree = dict[str, Any]

CURRENT: dict[Kind, int] = dict.fromkeys(get_args(Kind), 1) | {"report": 2}
# (kind, n) -> what makes schema n + 1 of schema n. A new schema adds its step here and its golden file to the tests.
UPGRADES: dict[tuple[Kind, int], Callable[[Tree], Tree]] = {("report", 1): lambda tree: _with_noise(tree)}


def upgraded(kind: Kind, tree: Tree, where: str) -> Tree:
    """`tree` as the current schema has it; one that says no schema is of schema 1."""
    schema = tree.get("schema", 1)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ConfigError(f"{where}: schema: expected a whole number from 1 on, got {schema!r}")
    if schema > CURRENT[kind]:
        raise ConfigError(
            f"{where}: schema {schema} of a {kind} file is newer than this edgekd reads ({CURRENT[kind]}); "
            "upgrade edgekd"
        )
    while schema < CURRENT[kind]:
        tree = UPGRADES[kind, schema](tree)
        schema += 1
    return tree


def read_json(kind: Kind, path: Path) -> Tree:
    """A JSON file of ours, in the current schema."""
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a {kind} file: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: not a {kind} file: it holds no object")
    return upgraded(kind, tree, str(path))


def _with_noise(report: Tree) -> Tree:
    """Report 2 has a noise meter where report 1 had two numbers and a flag."""
    how = dict(report["measurement"])
    noise = {"contention": how.pop("contention"), "load_average": how.pop("load_average"), "steal_percent": None,
             "spread_percent": None, "reasons": ["the machine was busy"] if how.pop("noisy") else []}  # fmt: skip
    return report | {"schema": 2, "measurement": how | {"clock": "cpu", "noise": noise}}
