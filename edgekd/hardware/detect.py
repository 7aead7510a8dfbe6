"""What this machine is: its CPU, caches and memory, the runtimes it has, the shipped profiles that fit it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgekd import resources
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.hardware.measure.result import Look
from edgekd.hardware.profile import DeviceProfile, Hardware, load_profile, mismatch
from edgekd.hardware.sysfs import facts, look, usable_cores
from edgekd.settings import Settings


class Detected(Settings):
    board: str | None  # what it calls itself
    profile: DeviceProfile  # runtimes as shipped, with what was found of the hardware
    runtimes: dict[str, str | None]  # the version of each, None where it is not installed
    fits: tuple[str, ...]  # shipped profiles that describe this CPU
    look: Look
    source: str  # of these facts


def detect() -> Detected:
    profile, told = load_profile("local-cpu"), facts()
    found = described(cpu(), usable_cores(), told)
    return Detected(
        board=told["board"],
        profile=profile.model_copy(
            update={"name": "my-device", "description": told["board"] or found.processor, "hardware": found}
        ),
        runtimes={spec.name: _installed(spec.packages[0]) for spec in profile.runnable},
        fits=tuple(name for name in resources.shipped("hw_profiles") if _fits(load_profile(name))),
        look=Look.model_validate_json(json.dumps(look())),
        source="detected by edgekd from the kernel of the machine itself",
    )


def described(found: Cpu, cores: int, told: Mapping[str, Any]) -> Hardware:
    """A machine by its processor and what `sysfs.facts` tells of it."""
    known = {name: told[name] for name in ("clock_mhz", "l2_kib", "l3_kib", "ram_mib")}
    return Hardware(processor=found.model, architecture=found.architecture, isa=found.isa, cores=cores, **known)


def _fits(profile: DeviceProfile) -> bool:
    return profile.connection == "local" and profile.kind == "cpu" and mismatch(profile.hardware, cpu()) is None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def as_profile_yaml(found: Detected) -> str:
    """A device profile in YAML, to be kept and edited: the facts are the kernel's."""
    from io import StringIO

    from ruamel.yaml import YAML

    tree = found.profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    tree["sources"]["hardware"] = found.source
    stream = StringIO()
    YAML(typ="safe").dump(tree, stream)
    return stream.getvalue()
