"""A device as the measuring code sees it: it starts processes there and has counters to look at."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from edgekd.errors import DeviceLostError, UnavailableError
from edgekd.hardware.answering import Feeds
from edgekd.hardware.fingerprint import Cpu, parse_cpuinfo
from edgekd.hardware.measure.compare import Place
from edgekd.hardware.measure.process import KINDS, Launch
from edgekd.hardware.measure.result import Look
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import emulator
from edgekd.hardware.remote.address import AnyAddress
from edgekd.hardware.remote.answers import ABOUT, ALONE, ANSWERS, WORKER, About, Answers, Refused, read_answer
from edgekd.hardware.remote.bounded import last_line, printable
from edgekd.hardware.remote.bundle import write_runner
from edgekd.hardware.remote.connection import LOST, Connection, connect
from edgekd.hardware.specs import Runnable

NO_PROGRAM = 127  # as shells say it
RUN_S, ABOUT_S = 620, 60  # the runner ends by itself after 600
AT_ONCE = 4096  # samples: of a thousand classes 16 MiB
EACH_AT_ONCE = 256  # samples that are answered one by one: a slow device has 2 s for each
SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "about": ABOUT, "worker": WORKER, "alone_worker": ALONE, "answers_worker": ANSWERS,
}  # fmt: skip


class NoPythonError(UnavailableError):
    """A device that nothing of edgekd's own can run on; the runtime's own tool may."""


@dataclass
class RemoteDevice:
    connection: Connection
    runner: str
    packages: tuple[str, ...]
    about: About = field(init=False)
    _sent: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.about = self.asked(self.packages)

    @property
    def place(self) -> Place:
        return Place(self.cpu, self._look, "emulated" if self.emulated else "measured")

    @property
    def emulated(self) -> bool:
        """Its runner was made for another kind of processor than its kernel runs on."""
        return _family(self.about.architecture) != _family(self.connection.machine)

    @property
    def cpu(self) -> Cpu:
        return parse_cpuinfo(self.about.cpuinfo, self.about.architecture)

    def launch(self, module: str) -> Launch:
        """As edgekd.hardware.measure.process.launch, with the process on the device; files are sent once."""
        return lambda request: self._ask(module, self._there(request), RUN_S)

    def answers(self, model: Path, runtime: Runnable, feeds: Feeds) -> NDArray[Any]:
        """The first output [N, ...], computed there: so many at a time that an answer keeps to its limits."""
        with tempfile.TemporaryDirectory(prefix="edgekd.") as private:
            np.savez(data := Path(private) / "feeds.npz", **feeds.arrays)  # type: ignore[arg-type]
            model_there = {"path": str(model), "runtime": runtime.model_dump_json(), "data": str(data)}
            at_once = AT_ONCE if feeds.lengths is None else EACH_AT_ONCE
            starts = range(0, len(feeds), at_once)
            found = [self._answers(model_there, feeds, first, min(first + at_once, len(feeds))) for first in starts]
        if any(part.shape[1:] != found[0].shape[1:] for part in found):
            raise UnavailableError(f"{self.connection.address}: answers of several shapes; nothing of it is used")
        return np.concatenate(found)

    def _answers(self, model: dict[str, Any], feeds: Feeds, first: int, last: int) -> NDArray[Any]:
        lengths = None if feeds.lengths is None else feeds.lengths[first:last]
        asked = self._there({"model": model, "batch": feeds.batch, "samples": [first, last], "lengths": lengths})
        found: NDArray[Any] = Answers.model_validate(self._ask("answers_worker", asked, RUN_S)).array
        if len(found) != last - first:
            raise UnavailableError(
                f"{self.connection.address}: {list(found.shape)} as answers to {last - first} samples; "
                "nothing of it is used"
            )
        return found

    def _look(self) -> tuple[tuple[int, int] | None, Look]:
        told = self.asked(())
        return told.jiffies, told.look

    def needed(self, packages: Sequence[str]) -> dict[str, str]:
        """Their versions there. Raises UnavailableError with what installs those that are missing."""
        found = self.about if set(packages) <= set(self.about.packages) else self.asked(packages)
        if missing := [name for name, version in found.packages.items() if version is None]:
            raise UnavailableError(
                f"{self.connection.address}: {' and '.join(missing)} not installed there; "
                f"run `python3 -m pip install {' '.join(missing)}` on the device"
            )
        return {name: str(found.packages[name]) for name in packages}

    def asked(self, packages: Sequence[str]) -> About:
        """What the device is now, and its versions of these packages: None where one is missing."""
        wanted = ["numpy", *packages]
        told = About.model_validate_json(json.dumps(self._ask("about", {"packages": wanted}, ABOUT_S)))
        if set(told.packages) != set(wanted):
            raise UnavailableError(f"{self.connection.address}: it tells of other packages than were asked for")
        return told

    def _ask(self, module: str, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        where = str(self.connection.address)
        # what a runtime keeps in the temporary folder goes with it: ONNX Runtime leaves a .ses there
        words = ["env", f"TMPDIR={self.connection.folder}", "python3", self.runner, module]
        with tempfile.TemporaryFile() as asked:
            asked.write(json.dumps(request).encode())
            asked.seek(0)
            done = self.connection.run(words, asked, limit_s)
        if done.code:
            kind = DeviceLostError if self.connection.lost(done) else UnavailableError
            if done.code == NO_PROGRAM:
                raise NoPythonError(
                    f"{where}: python3 is not installed there; install it, with numpy and the runtime, or let "
                    "the runtime's own tool measure (edgekd profile --by-tool)"
                )
            raise kind(f"{where}: {_ended(done.code, done.complaint)}")
        answer = read_answer(SCHEMAS[module], where, done.out)
        if isinstance(answer, Refused):
            said = printable(answer.error.encode("utf-8", "replace"))
            raise KINDS.get(answer.kind, UnavailableError)(f"{where}: {said}")
        if isinstance(answer, dict) and set(answer) != set(request["models"]):
            raise UnavailableError(f"{where}: its answer is of other models than were asked for; nothing of it is used")
        return _plain(answer)

    def _there(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request with paths of the device."""
        changed = copy.deepcopy(request)
        models = [changed["model"]] if "model" in changed else list(changed["models"].values())
        for model in [*models, *(model for _, model in changed.get("loads", ()))]:
            model["path"] = self._send(Path(model["path"]), parts_of)
            model["data"] = self._send(Path(model["data"]), lambda path: [path]) if model["data"] else None
        return changed

    def _send(self, local: Path, parts: Any) -> str:
        if local not in self._sent:
            folder = f"m{len(self._sent)}"
            for part in parts(local):
                self.connection.send(part, folder, *part.relative_to(local.parent).parts)
            self._sent[local] = self.connection.path(folder, local.name)
        return self._sent[local]


def seen_there(address: AnyAddress, packages: Sequence[str]) -> tuple[Cpu, dict[str, str | None]]:
    """
    The device's processor, and the versions of these packages; None of those that are not installed there.

    Raises UnavailableError for an emulator: nothing is decided by its times.
    """
    with _opened(address, packages) as there:
        if there.emulated:
            raise UnavailableError(emulator(str(address)))
        return there.cpu, dict(there.about.packages)


def _family(architecture: str) -> str:
    """A 64-bit kernel runs the 32-bit programs of its own kind."""
    if re.fullmatch(r"x86_64|i[3-6]86|amd64", architecture):
        return "x86"
    return "arm" if re.fullmatch(r"aarch64.*|arm.*", architecture) else architecture


@contextmanager
def remote_device(address: AnyAddress, packages: Sequence[str]) -> Iterator[RemoteDevice]:
    """Connect, send the runner, see that the runtime is there. Raises UnavailableError with what to do."""
    with _opened(address, packages) as there:
        there.needed(packages)
        yield there


@contextmanager
def _opened(address: AnyAddress, packages: Sequence[str]) -> Iterator[RemoteDevice]:
    with connect(address) as connection, tempfile.TemporaryDirectory(prefix="edgekd.") as private:
        runner = Path(private) / "runner.pyz"
        write_runner(runner)
        yield RemoteDevice(connection, connection.send(runner, "runner.pyz"), tuple(packages))


def _plain(answer: Any) -> dict[str, Any]:
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json")
    return {name: timed.model_dump(mode="json") for name, timed in answer.items()}


def _ended(code: int, complaint: str) -> str:
    last = last_line(complaint, "no message")
    return f"the connection was lost: {last}" if code == LOST else f"the runner ended with {code}: {last}"
