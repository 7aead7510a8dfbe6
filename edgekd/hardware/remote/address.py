"""What --device says: where the device is and how it is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgekd.errors import ConfigError

SSH = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*)(?::(?P<port>\d{1,5}))?/?")
ADB = re.compile(r"adb:(?P<serial>[A-Za-z0-9_][\w.:-]*)")


@dataclass(frozen=True)
class Address:
    """A host of the person's own OpenSSH configuration, or a serial number that `adb devices` names."""

    kind: Literal["ssh", "adb"]
    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        if self.kind == "adb":
            return f"adb:{self.host}"
        return f"ssh://{f'{self.user}@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"


def parse_address(text: str) -> Address:
    """`ssh://user@host:port` or `adb:serial`. Raises ConfigError for anything else, a password included."""
    if found := SSH.fullmatch(text):
        port = int(found["port"]) if found["port"] else None
        if port is None or 1 <= port <= 65535:
            return Address("ssh", found["host"], found["user"], port)
    if found := ADB.fullmatch(text):
        return Address("adb", found["serial"])
    raise ConfigError(
        f"--device {_shown(text)}: write it as ssh://user@host:port or adb:serial; keys and passwords belong to "
        "OpenSSH's own configuration and agent"
    )


def _shown(text: str) -> str:
    """Without what may be a password."""
    return repr(re.sub(r"(//[^/@:]*):[^@]*@", r"\1:...@", text))
