"""What a device is, asked over its connection: a profile of it that can be kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from edgekd import resources
from edgekd.errors import UnavailableError
from edgekd.hardware.detect import Detected, described
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import DeviceProfile, load_profile, mismatch, only
from edgekd.hardware.remote.address import AnyAddress
from edgekd.hardware.remote.device import RemoteDevice, remote_device

ALIKE = {"x86_64": "local-cpu", "aarch64": "rpi5"}  # whose runtimes and dialects are those of the architecture


def detect_there(address: AnyAddress) -> Detected:
    """Raises UnavailableError for a device that cannot be asked, or of an architecture that no profile knows."""
    with remote_device(address, ()) as there:
        return detected(there)


def detected(there: RemoteDevice) -> Detected:
    address, about, device = there.connection.address, there.about, there.cpu
    shipped = _alike(device, str(address))
    told = there.asked(tuple(spec.packages[0] for spec in shipped.runnable))
    versions: dict[str, str | None] = {spec.name: told.packages[spec.packages[0]] for spec in shipped.runnable}
    changed = {
        "name": re.sub(r"[^a-z0-9._-]", "-", address.host.lower()).lstrip("._-") or "device",
        "description": about.facts.board or device.model,
        "hardware": described(device, about.cores, about.facts.model_dump()),
        "connection": "remote",
    }
    there_are = {name for name, version in versions.items() if version}
    return Detected(
        board=about.facts.board,
        profile=only(shipped, there_are or set(versions)).model_copy(update=changed),
        runtimes=versions,
        fits=tuple(name for name in resources.shipped("hw_profiles") if _fits(load_profile(name), device)),
        look=about.look,
        source=f"read by edgekd from the kernel of {address}, {datetime.now(UTC).date().isoformat()}",
    )


def _alike(device: Cpu, where: str) -> DeviceProfile:
    if device.architecture not in ALIKE:
        raise UnavailableError(
            f"{where}: is {device.architecture}; no shipped profile has runtimes for it ({', '.join(ALIKE)} have)"
        )
    return load_profile(ALIKE[device.architecture])


def _fits(profile: DeviceProfile, device: Cpu) -> bool:
    return profile.kind == "cpu" and mismatch(profile.hardware, device) is None
