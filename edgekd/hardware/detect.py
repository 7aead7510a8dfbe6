"""What this machine is: its CPU, caches and memory, the runtimes it has, the shipped profiles that fit it."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekd import resources
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import DeviceProfile, Hardware, load_profile, mismatch
from edgekd.settings import Settings

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
MEMORY = Path("/proc/meminfo")


class Detected(Settings):
    profile: DeviceProfile  # local-cpu, with what was found on this machine
    runtimes: dict[str, str | None]  # the version of each, None where it is not installed
    fits: tuple[str, ...]  # shipped profiles that describe this CPU


def detect() -> Detected:
    profile = load_profile("local-cpu")
    filled = profile.model_copy(update={"hardware": hardware()})
    return Detected(
        profile=filled,
        runtimes={spec.name: _installed(spec.packages[0]) for spec in profile.runnable},
        fits=tuple(name for name in resources.shipped("hw_profiles") if _fits(load_profile(name))),
    )


def hardware() -> Hardware:
    """Of the machine at hand, as far as its kernel tells."""
    found = cpu()
    return Hardware(
        processor=found.model,
        architecture=found.architecture,
        isa=found.isa,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        clock_mhz=_number(CLOCK, 1e-3),
        l2_kib=cache_kib(2),
        l3_kib=cache_kib(3),
        ram_mib=_memory_mib(),
    )


def cache_kib(level: int, folder: Path = CACHES) -> float | None:
    """Of the first core; None where the kernel does not say."""
    for index in sorted(folder.glob("index*")):
        try:
            if (index / "level").read_text("ascii").strip() == str(level):
                size = re.fullmatch(r"(\d+)([KM]?)", (index / "size").read_text("ascii").strip())
                return float(size[1]) * (1024 if size[2] == "M" else 1) if size else None
        except OSError:
            continue
    return None


def _fits(profile: DeviceProfile) -> bool:
    return profile.connection == "local" and profile.kind == "cpu" and mismatch(profile.hardware, cpu()) is None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _number(path: Path, factor: float) -> float | None:
    try:
        return float(path.read_text("ascii")) * factor
    except (OSError, ValueError):
        return None


def _memory_mib() -> float | None:
    try:
        found = re.search(r"MemTotal:\s+(\d+) kB", MEMORY.read_text("ascii"))
    except OSError:
        return None
    return round(int(found[1]) / 1024) if found else None


def as_profile_yaml(found: Detected) -> str:
    """A device profile in YAML, to be kept and edited: the facts are the kernel's."""
    from io import StringIO

    from ruamel.yaml import YAML

    tree = found.profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    tree["name"], tree["description"] = "my-device", found.profile.hardware.processor
    tree["sources"]["hardware"] = "detected by edgekd from the kernel of the machine itself"
    stream = StringIO()
    YAML(typ="safe").dump(tree, stream)
    return stream.getvalue()
