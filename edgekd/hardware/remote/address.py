"""What --device says: where the device is and how it is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekd.errors import ConfigError, UnavailableError

SSH = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*)(?::(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True)
class Address:
    """A host of the person's own OpenSSH configuration."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"ssh://{f'{self.user}@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"


def parse_address(text: str) -> Address:
    """`ssh://user@host:port`. Raises UnavailableError for phones, ConfigError for the rest, passwords included."""
    if found := SSH.fullmatch(text):
        port = int(found["port"]) if found["port"] else None
        if port is None or 1 <= port <= 65535:
            return Address(found["host"], found["user"], port)
    if text.startswith("adb:"):
        raise UnavailableError(
            f"--device {text}: phones are not reached yet; a device with sshd is: ssh://user@host:port"
        )
    raise ConfigError(
        f"--device {_shown(text)}: write it as ssh://user@host:port; keys and passwords belong to "
        "OpenSSH's own configuration and agent"
    )


def _shown(text: str) -> str:
    """Without what may be a password."""
    return repr(re.sub(r"(//[^/@:]*):[^@]*@", r"\1:...@", text))
