"""A scripted `adb` stands for a phone: it prints what adb prints, and its shell is this machine's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "adb"
SERIAL = "emulator-5554"
SCRIPT = """#!{python} -I
import json, os, pathlib, shutil, sys
home = pathlib.Path({home!r})
said = sys.argv[1:]
with (home / "calls").open("a") as file:
    file.write(json.dumps(said) + "\\n")
if said == ["devices"]:
    print((home / "devices").read_text(), end="")
elif said[:2] != ["-s", {serial!r}]:
    sys.exit(2)
elif said[2:4] == ["shell", "-T"] and (home / "shell-lost").exists():
    sys.exit((home / "shell-lost").read_text())
elif said[2:4] == ["shell", "-T"]:
    os.environ |= {{"TMPDIR": str(home / "tmp"), "PATH": f"{{home}}/bin:/usr/bin:/bin"}}
    os.execv("/bin/sh", ["sh", "-c", " ".join(said[4:])])
elif said[2] == "push" and (home / "push-lost").exists():
    sys.exit((home / "push-lost").read_text())
elif said[2] == "push":
    shutil.copyfile(said[3], said[4])
    print(f"{{said[3]}}: 1 file pushed. 21.5 MB/s (1234 bytes in 0.000s)")
"""


@dataclass(frozen=True)
class Phone:
    home: Path

    def says(self, devices: str) -> None:
        """The answer to `adb devices`, by its golden file."""
        (self.home / "devices").write_text((GOLDEN / f"{devices}.txt").read_text("utf-8"), "utf-8")

    def loses(self, what: str) -> None:
        """From now on `adb shell` or `adb push` fails as without the device."""
        (self.home / f"{what}-lost").write_text((GOLDEN / f"{what}-lost.txt").read_text("utf-8").rstrip(), "utf-8")

    def has(self, program: str, script: str) -> None:
        path = self.home / "bin" / program
        path.write_text(script, "utf-8")
        path.chmod(0o755)

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.home / "tmp").iterdir())


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    home = tmp_path / "phone"
    for folder in ("tmp", "bin", "client"):
        (home / folder).mkdir(parents=True)
    adb = home / "client" / "adb"
    adb.write_text(SCRIPT.format(python=sys.executable, home=str(home), serial=SERIAL), "utf-8")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{adb.parent}:{os.environ['PATH']}")
    one = Phone(home)
    one.says("device")
    one.has("python3", "#!/bin/sh\nexit 127\n")  # as on a phone
    return one
