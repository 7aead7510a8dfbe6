"""What a person points at when a model is to be measured or judged: a file, a bundle, or a saved baseline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd.data.signature import Signature
from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError
from edgekd.formats import read_json
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.runtime import Described, Session, open_session
from edgekd.hardware.specs import Runnable, read_runnable

BASELINE = "baseline.json"


@dataclass(frozen=True)
class Subject:
    """
    A model file with the settings that it is run in: the bundle's own where it is in one, else the profile's.

    `signature` is what edgekd knows of its inputs and outputs: labels, layout, preprocessing. None in foreign files.
    """

    where: Path  # as the person said it
    path: Path
    runtime: Runnable
    signature: Signature | None = None
    coverage: dict[str, Any] | None = None  # of its layers with weights, those that run as integers
    evaluation: dict[str, Any] | None = None  # what a saved baseline was last judged on

    def open(self) -> Session:
        return open_session(self.path, self.runtime)


def find(where: Path, profile: DeviceProfile, runtime: str | None = None) -> Subject:
    """Raises ConfigError where there is nothing, or something else than what its manifest says."""
    if where.is_file():
        spec = profile.runtime(runtime, where.suffix)
        return Subject(where, where, spec, _embedded(where))
    if (where / "manifest.json").is_file():
        return _of_bundle(where)
    if (where / BASELINE).is_file():
        told = read_json("baseline", where / BASELINE)
        path = _inside(where, told["model"])
        _check_digest(path, told["sha256"], BASELINE)
        spec = profile.runtime(runtime, path.suffix)
        return Subject(where, path, spec, _embedded(path), evaluation=told["evaluation"])
    if where.exists():
        raise ConfigError(f"{where}: neither a model file nor a bundle (it has no manifest.json) nor a saved baseline")
    raise ConfigError(f"{where}: no such file or bundle")


def describe(subject: Subject) -> Described:
    """Open it once, to see that it runs and what it takes."""
    session = subject.open()
    try:
        return session.describe()
    finally:
        session.close()


def _of_bundle(where: Path) -> Subject:
    manifest = read_json("manifest", where / "manifest.json")
    try:
        path = _inside(where, manifest["model"])
        spec = read_runnable(json.dumps(manifest["runtime"]))
        described = Signature.model_validate_json(json.dumps(manifest["signature"]))
        expected = manifest["files"][manifest["model"]]
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigError(f"{where / 'manifest.json'}: not what edgekd wrote: {_first_line(error)}") from error
    _check_digest(path, expected, "manifest.json")
    baseline = read_json("baseline", where / BASELINE) if (where / BASELINE).is_file() else {}
    return Subject(where, path, spec, described, manifest.get("coverage"), baseline.get("evaluation"))


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{folder}: names the model {name!r}, which lies outside of it")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, though {folder} names it as its model")
    return path


def _check_digest(path: Path, expected: str, source: str) -> None:
    if digest_file(path) != expected:
        raise ConfigError(f"{path}: not the file that {source} describes; build, save or copy it again")


def _embedded(path: Path) -> Signature | None:
    """The signature that edgekd writes into the metadata of ONNX files."""
    if path.suffix != ".onnx":
        return None
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(path, load_external_data=False)
        found = {row.key: row.value for row in graph.metadata_props}.get("edgekd.signature")
        return Signature.model_validate_json(found) if found else None
    except (DecodeError, ValidationError):
        return None  # not ONNX: the runtime has the better words


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
