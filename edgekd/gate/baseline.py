"""A baseline to come back to: the model itself, never its milliseconds."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from edgekd import __version__
from edgekd.deploy.subject import BASELINE, JudgedOn, SavedBaseline, describe, digests, find
from edgekd.engine.swap import put_in_place
from edgekd.errors import ConfigError, UnavailableError
from edgekd.gate.samples import Samples
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import DeviceProfile


def save(
    candidate: Path, folder: Path, profile: DeviceProfile, evaluated: Samples | None, runtime: str | None = None
) -> Path:
    """Copy a model or bundle that opens to `folder`, with the digest of what it was judged on; whole, or not at all."""
    subject = find(candidate, profile, runtime)
    describe(subject)
    if folder.exists() and not (folder / BASELINE).is_file():
        raise ConfigError(f"--save-baseline {folder}: is there and no saved baseline; choose another folder")
    if candidate.is_dir() and folder.resolve().is_relative_to(candidate.resolve()):
        raise ConfigError(f"--save-baseline {folder}: lies in {candidate}, which it would copy; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".edgekd-baseline-") as work:
            made = Path(work) / "new"
            home = candidate if candidate.is_dir() else subject.path.parent
            if candidate.is_dir():
                shutil.copytree(candidate, made)
            else:
                _copy_parts(subject.path, made)
            told = _told(made / subject.path.relative_to(home), made, evaluated)
            (made / BASELINE).write_text(told.model_dump_json(indent=1, by_alias=True), "utf-8")
            put_in_place(made, folder, Path(work) / "old")
    except (OSError, shutil.Error) as error:
        raise UnavailableError(f"--save-baseline {folder}: cannot be written: {error}") from error
    return folder


def _copy_parts(model: Path, folder: Path) -> None:
    for part in parts_of(model):
        place = folder / part.relative_to(model.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)


def _told(model: Path, folder: Path, evaluated: Samples | None) -> SavedBaseline:
    judged = evaluated and JudgedOn(file=evaluated.path.name, sha256=evaluated.sha256, n=len(evaluated))
    return SavedBaseline(
        edgekd=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model.relative_to(folder).as_posix(),
        files=digests(model, folder),
        evaluation=judged or None,
    )
