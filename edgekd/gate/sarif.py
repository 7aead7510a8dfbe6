"""SARIF 2.1.0, as code scanning reads it: one rule a limit, one result for each that did not pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgekd.budget import State
from edgekd.gate.result import ABOUT, GateResult
from edgekd.gate.words import sentence

LEVELS: dict[State, str] = {"fail": "error", "inconclusive": "warning"}  # services take any result for an alert


def sarif(result: GateResult) -> str:
    alerts = [check for check in result.checks if check.state in LEVELS]
    names = [check.name for check in result.checks]
    rules = [{"id": f"edgekd/{name}", "shortDescription": {"text": ABOUT[name]}} for name in names]
    found = [
        {
            "ruleId": f"edgekd/{check.name}",
            "ruleIndex": names.index(check.name),
            "level": LEVELS[check.state],
            "message": {"text": sentence(check)},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(result.candidate)}}}],
            "properties": {"state": check.state},
        }
        for check in alerts
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
