"""`devices.yaml`: devices by name, with how each is reached and what it is; and one job on each of several at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, field_validator

from edgekd.errors import ConfigError, DeviceLostError, EdgekdError, UnavailableError
from edgekd.formats import upgraded
from edgekd.hardware.remote.address import parse_address
from edgekd.settings import Settings, read_yaml, validate

T = TypeVar("T")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
PAUSES_S = (5.0, 60.0)  # before another try: a connection comes back at once, a board that starts again in a minute


class FarmDevice(Settings):
    address: str  # ssh://user@host:port or adb:serial
    profile: str | None = None  # a shipped one, or a .yaml beside this file; left out: local-cpu, which takes any CPU
    runtime: Literal["onnxruntime", "openvino", "litert"] | None = None  # alone of the profile's; left out: all

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        try:
            parse_address(text)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("--device ")) from None
        return text


class Farm(Settings):
    schema_version: int = Field(alias="schema", default=1)
    devices: dict[Name, FarmDevice] = Field(min_length=1)


@dataclass(frozen=True)
class Reached:
    """A device as a command takes it: None as its address is this machine."""

    name: str
    address: str | None
    profile: str | None = None
    runtime: str | None = None


def default_farm() -> Path:
    """$EDGEKD_DEVICES, else devices.yaml in the working folder."""
    return Path(os.environ.get("EDGEKD_DEVICES") or "devices.yaml")


def read_farm(path: Path) -> Farm:
    """Raises ConfigError with file, line and key."""
    try:
        tree = read_yaml(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return validate(Farm, upgraded("devices", tree, str(path)) if isinstance(tree, dict) else tree, str(path))


def reached(text: str, path: Path | None = None) -> Reached:
    """
    What --device says: `local`, an address, or a name in the farm.

    Raises ConfigError for a name that is not there.
    """
    if text == "local":
        return Reached(text, None)
    if ":" in text:
        return Reached(text, str(parse_address(text)))
    path = path or default_farm()
    if not path.is_file():
        raise ConfigError(
            f"--device {text}: {path} is not there, which would say where that is; write the address itself "
            "(ssh://user@host:port or adb:serial), or name a farm in EDGEKD_DEVICES"
        )
    farm = read_farm(path)
    if text not in farm.devices:
        raise ConfigError(f"--device {text}: not in {path}, which has {', '.join(farm.devices)}")
    found = farm.devices[text]
    profile = found.profile
    if profile and profile.endswith((".yaml", ".yml")):
        profile = str(path.parent / profile)
    return Reached(text, str(parse_address(found.address)), profile, found.runtime)


def in_farm(name: str) -> bool:
    """Where a profile's name may stand too. Raises ConfigError for a farm that cannot be read."""
    return default_farm().is_file() and name in read_farm(default_farm()).devices


def several(texts: list[str], path: Path | None = None) -> list[Reached]:
    """Raises ConfigError where two are one device: it has one job at a time."""
    found = [reached(text, path) for text in texts]
    by_address: dict[str | None, str] = {}
    for one in found:
        if one.address in by_address:
            raise ConfigError(
                f"--device {one.name}: is the same as {by_address[one.address]} ({one.address or 'this machine'}); "
                "a device has one job at a time"
            )
        by_address[one.address] = one.name
    return found


def at_once(
    jobs: Mapping[str, Callable[[], T]], tell: Callable[[str], None]
) -> tuple[dict[str, T], dict[str, EdgekdError]]:
    """Each job on its own device, all in parallel: what came out of it, or why nothing did; the others go on."""
    done: dict[str, T] = {}
    failed: dict[str, EdgekdError] = {}
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        for name, future in running.items():
            try:
                done[name] = future.result()
                tell(f"{name}: done")
            except EdgekdError as error:
                failed[name] = error
                tell(f"{name}: failed: {error}")
    return done, failed


def persistently(job: Callable[[], T], tell: Callable[[str], None]) -> T:
    """
    The job; again, from its beginning, where its device stopped answering in the middle of it.

    Raises DeviceLostError with what the first and the last try raised.
    """
    try:
        return job()
    except DeviceLostError as error:
        first = last = str(error)
    for pause_s in PAUSES_S:
        tell(f"{last}; once more in {pause_s:g} s")
        time.sleep(pause_s)
        try:
            return job()
        except UnavailableError as error:  # also where it does not answer at all yet
            last = str(error)
    then = "" if last == first else f"; then {last}"
    raise DeviceLostError(f"{first}{then} (given up after {1 + len(PAUSES_S)} tries)")
