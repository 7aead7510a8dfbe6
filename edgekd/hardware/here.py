"""Which of a profile's runtimes are on this machine, and which of them one quantised graph serves."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import DeviceProfile, with_runtime
from edgekd.hardware.specs import Runnable, RuntimeSpec

S = TypeVar("S", bound=RuntimeSpec)
FLOATS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")


def installed(profile: DeviceProfile) -> list[Runnable]:
    """The profile's runtimes that are here, in its order. Raises UnavailableError where none is."""
    found = [spec for spec in profile.runnable if is_installed(spec.packages[0])]
    if not found:
        names = ", ".join(spec.name for spec in profile.runnable) or "none that runs here"
        raise UnavailableError(f"device {profile.name}: none of its runtimes is installed ({names})")
    able = [spec for spec in found if spec.on_cpu or spec.computes_on in devices_of(spec)]
    if not able:
        first = found[0]
        raise UnavailableError(
            f"device {profile.name}: {first.name} sees {', '.join(devices_of(first))} here, and no "
            f"{first.computes_on}; run edgekd on a machine that has one"
        )
    return able


def narrowed(profile: DeviceProfile, runtime: str | None) -> DeviceProfile:
    """
    As `with_runtime`, for a build.

    Raises ConfigError also for a runtime that takes no float student to hold others against.
    """
    found = with_runtime(profile, runtime)
    if runtime and not (found.compiler or takes_floats(found.runtimes[0])):
        raise ConfigError(
            f"device {profile.name}: with {runtime} alone nothing can be built, since it is held against float files, "
            f"and edgekd writes none for it; leave `runtime: {runtime}` out: its variants are measured beside others"
        )
    return found


def devices_of(spec: Runnable) -> list[str]:
    """What the runtime can compute on here, by its own names; it is imported."""
    if spec.name == "openvino":
        from edgekd.hardware.runtimes.openvino import ov

        return list(ov.Core().available_devices)
    import onnxruntime

    return list(onnxruntime.get_available_providers())


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
