"""What runs on the device: a request as JSON on its standard input, an answer as JSON back; see bundle.py."""

from __future__ import annotations

import platform
import signal
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIMIT_S = 600  # it ends by itself, whether or not anybody still listens


def about(request: dict[str, Any]) -> dict[str, Any]:
    """What the device says of itself; versions of the packages that were asked for, None where one is missing."""
    info, sysfs = Path("/proc/cpuinfo"), import_module("edgekd.hardware.sysfs")
    return {
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "cpuinfo": info.read_text("utf-8", "replace")[:4096] if info.is_file() else "",
        "cores": sysfs.usable_cores(),
        "packages": {name: _version(name) for name in request["packages"]},
        "jiffies": import_module("edgekd.hardware.measure.counters").cpu_jiffies(),
        "look": sysfs.look(),
        "facts": sysfs.facts(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main(what: str) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(LIMIT_S)
    serve = import_module("edgekd.hardware.measure.process").serve
    known = ("worker", "alone_worker", "answers_worker")
    serve(about if what not in known else import_module(f"edgekd.hardware.measure.{what}").measure)


if __name__ == "__main__":
    main(sys.argv[1])
