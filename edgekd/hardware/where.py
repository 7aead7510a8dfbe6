"""Where a target is measured and answers: on this machine, or on a device over ssh."""

from __future__ import annotations

from functools import cache

from edgekd.errors import UnavailableError
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.here import installed
from edgekd.hardware.profile import DeviceProfile, mismatch, refuse_emulator, this_cpu
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.specs import Runnable
from edgekd.hardware.stages import There
from edgekd.settings import Settings


class Where(Settings):
    """Its processor, the profile's runtimes that are installed there, and how to reach it; None: it is this machine."""

    cpu: Cpu
    runtimes: tuple[Runnable, ...]
    there: There | None = None


def where_of(profile: DeviceProfile, device: str | None) -> Where:
    """
    Raises UnavailableError for a device that is not here nor reached over ssh, before one for a runtime that is not
    installed.
    """
    cpu = cpu_of(profile, device)
    runtimes = installed(profile)
    if device is None:
        return Where(cpu=cpu, runtimes=tuple(runtimes))
    versions = _versions_there(profile, device)
    kept = tuple(spec for spec in runtimes if spec.packages[0] in versions)
    if not kept:
        names = " ".join(spec.packages[0] for spec in runtimes)
        raise UnavailableError(
            f"{device}: has none of {names}, which are here; run `python3 -m pip install` of one on the device"
        )
    return Where(cpu=cpu, runtimes=kept, there=There(address=device, versions=versions))


def cpu_of(profile: DeviceProfile, device: str | None) -> Cpu:
    """
    Of this machine, or of the device, which is asked once a process.

    Raises UnavailableError for any other, and for an emulator.
    """
    refuse_emulator(profile)
    if device is None:
        return this_cpu(profile)
    if profile.kind != "cpu":
        raise UnavailableError(f"device {profile.name}: edgekd measures CPUs over ssh, and this is a {profile.kind}")
    found, _ = _asked(device, _packages(profile))
    if why := mismatch(profile.hardware, found):
        raise UnavailableError(f"device {profile.name}: {why} ({device})")
    return found


def _versions_there(profile: DeviceProfile, device: str) -> dict[str, str]:
    """Of the profile's runtimes that are installed on the device, by package."""
    _, found = _asked(device, _packages(profile))
    return {name: version for name, version in found.items() if name != "numpy" and version is not None}


@cache
def _asked(device: str, packages: tuple[str, ...]) -> tuple[Cpu, dict[str, str | None]]:
    from edgekd.hardware.remote.device import seen_there  # scipy comes along, which a cached build does without

    return seen_there(parse_address(device), packages)


def _packages(profile: DeviceProfile) -> tuple[str, ...]:
    return tuple(dict.fromkeys(package for spec in profile.runnable for package in spec.packages))
