"""Which of a profile's runtimes are on this machine, and which of them one quantised graph serves."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from edgekd.errors import UnavailableError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.specs import Runnable, RuntimeSpec

S = TypeVar("S", bound=RuntimeSpec)
FLOATS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")


def installed(profile: DeviceProfile) -> list[Runnable]:
    """The profile's runtimes that are here, in its order. Raises UnavailableError where none is."""
    found = [spec for spec in profile.runnable if is_installed(spec.packages[0])]
    if not found:
        names = ", ".join(spec.name for spec in profile.runnable) or "none that runs here"
        raise UnavailableError(f"device {profile.name}: none of its runtimes is installed ({names})")
    return found


def by_dialect(runtimes: Sequence[S], device: Cpu) -> dict[Dialect, list[S]]:
    """Runtimes that one quantised graph serves."""
    found: dict[Dialect, list[S]] = {}
    for spec in runtimes:
        found.setdefault(spec.dialect.on(device), []).append(spec)
    return found


def takes_floats(spec: RuntimeSpec) -> bool:
    """Whether edgekd writes float files for it: TFLite is written from quantised graphs alone."""
    return spec.name in FLOATS


def is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
