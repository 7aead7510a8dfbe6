"""What a table has to say of the machine and the packages that it is from."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("edgekd", "onnxruntime", "openvino", "ai-edge-litert", "onnx", "torch", "numpy")


def machine(measured: dict[str, Any]) -> str:
    """`measured` is a report's "measurement"."""
    device, noise = measured["device"], measured["noise"]
    return (
        f"{device['model']}, {', '.join(device['isa'])}; one thread, batch {measured['batch']}; "
        f"{measured['processes']} processes x {measured['rounds']} rounds, {measured['kind']}; "
        f"contention {noise['contention']}. {versions()}"
    )


def versions() -> str:
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return f"CPython {sys.version.split()[0]}, {packages}."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
