"""A baseline to come back to: the model itself, never its milliseconds."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd import __version__
from edgekd.deploy.subject import BASELINE, find
from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError, UnavailableError
from edgekd.formats import CURRENT
from edgekd.gate.samples import Samples
from edgekd.hardware.measure.compare import parts_of
from edgekd.hardware.profile import DeviceProfile


def save(candidate: Path, folder: Path, profile: DeviceProfile, evaluation: Samples | None) -> Path:
    """Copy a model file or bundle to `folder`, with the digest of what it was judged on; whole, or not at all."""
    subject = find(candidate, profile)
    if folder.exists() and not (folder / BASELINE).is_file():
        raise ConfigError(f"--save-baseline {folder}: is there and no saved baseline; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".edgekd-baseline-") as work:
            made = Path(work) / "new"
            home = candidate if candidate.is_dir() else subject.path.parent
            if candidate.is_dir():
                shutil.copytree(candidate, made)
            else:
                _copy_parts(subject.path, made)
            told = _told(subject.path.relative_to(home), made, evaluation)
            (made / BASELINE).write_text(json.dumps(told, indent=1), "utf-8")
            if folder.exists():
                folder.replace(Path(work) / "old")
            made.replace(folder)
    except OSError as error:
        raise UnavailableError(f"--save-baseline {folder}: cannot be written: {error.strerror}") from error
    return folder


def _copy_parts(model: Path, folder: Path) -> None:
    for part in parts_of(model):
        place = folder / part.relative_to(model.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)


def _told(model: Path, folder: Path, evaluation: Samples | None) -> dict[str, Any]:
    judged = evaluation and {"file": evaluation.path.name, "sha256": evaluation.sha256, "n": len(evaluation)}
    return {
        "schema": CURRENT["baseline"],
        "edgekd": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.as_posix(),
        "sha256": digest_file(folder / model),
        "evaluation": judged,
    }
