"""SARIF 2.1.0, as code scanning reads it: one rule a limit, one result a check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgekd.budget import State
from edgekd.gate.result import ABOUT, GateResult
from edgekd.gate.words import sentence

KINDS: dict[State, tuple[str, str]] = {  # of SARIF: kind, level (which is "none" for everything but a failure)
    "pass": ("pass", "none"),
    "fail": ("fail", "error"),
    "inconclusive": ("fail", "warning"),
}


def sarif(result: GateResult) -> str:
    names = list(dict.fromkeys(check.name for check in result.checks))
    rules = [{"id": f"edgekd/{name}", "shortDescription": {"text": ABOUT[name]}} for name in names]
    found = [
        {
            "ruleId": f"edgekd/{check.name}",
            "ruleIndex": names.index(check.name),
            "kind": KINDS[check.state][0],
            "level": KINDS[check.state][1],
            "message": {"text": sentence(check)},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(result.candidate)}}}],
            "properties": {"state": check.state},
        }
        for check in result.checks
    ]
    driver: dict[str, Any] = {"name": "edgekd", "version": result.edgekd, "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": found}],
    }
    return json.dumps(log, indent=1) + "\n"


def _uri(path: str) -> str:
    """Relative as the person wrote it; a file URI where it is absolute."""
    return Path(path).as_uri() if Path(path).is_absolute() else quote(Path(path).as_posix())
