"""What the tests of the gate share: a small classifier, its evaluation set, and bundles that were tampered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.gate.limits import Limits
from edgekd.gate.result import GateResult
from helpers import onnx_models

QUICK = str(Path(__file__).parents[1] / "micro-cpu.yaml")
CLASSES, WIDTH, N = 4, 64, 1000
DRAW = np.random.default_rng(0)
WEIGHT = DRAW.standard_normal((WIDTH, CLASSES)).astype(np.float32)
X = DRAW.standard_normal((N, WIDTH)).astype(np.float32)
LABELS = (X @ WEIGHT).argmax(1)
ONLY_ANSWERS = Limits(latency_regression_percent=None, memory_growth_percent=None, size_growth_percent=None)


def states(result: GateResult) -> dict[str, str]:
    return {check.name: check.state for check in result.checks}


def worse(path: Path, noise: float) -> Path:
    """Answers otherwise now and then."""
    return onnx_models.linear(WEIGHT + noise * np.random.default_rng(1).standard_normal(WEIGHT.shape), path)


def edited(bundle: Path, to: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a bundle with another manifest."""
    shutil.copytree(bundle, to)
    manifest = json.loads((to / "manifest.json").read_text())
    edit(manifest)
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def edgekd(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekd", *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "200"} | env,
    )  # fmt: skip
