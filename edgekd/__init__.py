"""Turn a trained model into the fastest artifact that a device can run without losing what matters."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekd import _auto

if TYPE_CHECKING:
    from edgekd.api import build, plan
    from edgekd.distilling import distil
    from edgekd.exporting import export
    from edgekd.gate.run import check
    from edgekd.hardware.profile import load_profile
    from edgekd.measuring import compare, measure
    from edgekd.pipeline import load_pipeline
    from edgekd.searching import find_student

__version__ = "0.1.0"  # the build reads it from here
__all__ = [
    "build",
    "check",
    "compare",
    "distil",
    "export",
    "find_student",
    "load_pipeline",
    "load_profile",
    "measure",
    "plan",
]

_HOMES = {
    "build": "edgekd.api",
    "plan": "edgekd.api",
    "check": "edgekd.gate.run",
    "export": "edgekd.exporting",
    "compare": "edgekd.measuring",
    "distil": "edgekd.distilling",
    "find_student": "edgekd.searching",
    "measure": "edgekd.measuring",
    "load_pipeline": "edgekd.pipeline",
    "load_profile": "edgekd.hardware.profile",
}


def __getattr__(name: str) -> Any:
    """Import what a script asks for when it asks, so that `import edgekd` stays light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgekd' has no attribute {name!r}")


# PyPI's ONNX Runtime reports the machine to its maker unless this is set before it is first imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_auto.install()
