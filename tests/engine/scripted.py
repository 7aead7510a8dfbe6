"""Stages of a millisecond: what they do is chosen by their settings."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.engine.stage import Stage, Work
from edgekd.engine.store import Artifact
from edgekd.settings import Settings

runs: list[str] = []  # the names of the stages that ran, in order


class Write(Settings):
    text: str = "a"
    fail: bool = False


def write(settings: Write, inputs: Mapping[str, Artifact], work: Work) -> None:
    runs.append("write")
    (work.scratch / "seen").write_text((work.scratch / "seen").read_text() + "x" if _seen(work) else "x")
    (work.out / "text.txt").write_text(settings.text)
    work.progress.say("written")
    work.progress.warn("warning: not much")
    if settings.fail:
        raise OSError(28, "No space left on device")


def join(settings: Write, inputs: Mapping[str, Artifact], work: Work) -> None:
    runs.append("join")
    parts = [inputs[name].file("text.txt").read_text() for name in sorted(inputs)]
    (work.out / "text.txt").write_text(settings.text.join(parts))


def empty(settings: Write, inputs: Mapping[str, Artifact], work: Work) -> None:
    pass


def _seen(work: Work) -> bool:
    return (work.scratch / "seen").exists()


WRITE = Stage[Write]("write", f"{__name__}:write", gives="text")
JOIN = Stage[Write]("join", f"{__name__}:join", takes={"part.*": "text"}, gives="text")
EMPTY = Stage[Write]("empty", f"{__name__}:empty", gives="text")
