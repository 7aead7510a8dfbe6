"""What --device says: where the device is and how it is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekd.errors import ConfigError

SSH = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*)(?::(?P<port>\d{1,5}))?/?")

ADB = re.compile(r"adb:(?P<serial>[A-Za-z0-9][\w.:-]{0,99})")  # adb connect's have a port


@dataclass(frozen=True)
class Address:
    """A host of the person's own OpenSSH configuration."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"ssh://{f'{self.user}@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class AdbAddress:
    """A phone or board that the Android Debug Bridge of this machine knows by its serial."""

    serial: str

    @property
    def host(self) -> str:
        return self.serial

    def __str__(self) -> str:
        return f"adb:{self.serial}"


AnyAddress = Address | AdbAddress


def parse_address(text: str) -> AnyAddress:
    """`ssh://user@host:port` or `adb:serial`. Raises ConfigError for the rest, passwords included."""
    if found := SSH.fullmatch(text):
        port = int(found["port"]) if found["port"] else None
        if port is None or 1 <= port <= 65535:
            return Address(found["host"], found["user"], port)
    if found := ADB.fullmatch(text):
        return AdbAddress(found["serial"])
    raise ConfigError(
        f"--device {_shown(text)}: write it as ssh://user@host:port, or adb:serial; keys and passwords belong to "
        "OpenSSH's own configuration and agent"
    )


def _shown(text: str) -> str:
    """Without what may be a password."""
    return repr(re.sub(r"(//[^/@:]*):[^@]*@", r"\1:...@", text))
