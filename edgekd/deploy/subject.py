"""What a person points at when a model is to be measured or judged: a file, a bundle, or a saved baseline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from edgekd.data.signature import Signature
from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError
from edgekd.formats import read_json
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.runtime import Described, Session, open_session
from edgekd.hardware.specs import Runnable, read_runnable
from edgekd.settings import Settings, validate

BASELINE = "baseline.json"


class JudgedOn(Settings):
    file: str
    sha256: str
    n: int


class SavedBaseline(Settings):
    """baseline.json: which model lies beside it, the digests of all its files, what it was judged on."""

    schema_version: int = Field(default=1, alias="schema")
    edgekd: str
    when: str
    model: str
    files: dict[str, str]  # path in the folder -> sha256
    evaluation: JudgedOn | None


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
    evaluation: JudgedOn | None = None  # of a saved baseline

    def open(self) -> Session:
        return open_session(self.path, self.runtime)


def find(where: Path, profile: DeviceProfile, runtime: str | None = None) -> Subject:
    """Raises ConfigError where there is nothing, or something else than what its manifest says."""
    if where.is_file():
        spec = profile.runtime(runtime, where.suffix)
        return Subject(where, where, spec, _embedded(where))
    if (where / "manifest.json").is_file():
        if runtime is not None:
            raise ConfigError(f"--runtime {runtime}: {where} is a bundle, run as its manifest says; leave it out")
        return _of_bundle(where)
    if (where / BASELINE).is_file():
        told = _saved(where)
        path = _inside(where, told.model)
        spec = profile.runtime(runtime, path.suffix)
        return Subject(where, path, spec, _embedded(path), told.evaluation)
    if where.exists():
        raise ConfigError(f"{where}: neither a model file nor a bundle (it has no manifest.json) nor a saved baseline")
    raise ConfigError(f"{where}: no such file or bundle")


def describe(subject: Subject) -> Described:
    """Open it once, to see that it runs and what it takes."""
    session = subject.open()
    try:
        described = session.describe()
    finally:
        session.close()
    if not described.inputs or not described.outputs:
        raise ConfigError(
            f"{subject.path}: has no {'inputs' if described.outputs else 'outputs'}; nothing can be asked of it"
        )
    return described


def digests(path: Path, folder: Path) -> dict[str, str]:
    """sha256 of every file that the model at `path` consists of, by its place in `folder`."""
    return {part.relative_to(folder).as_posix(): digest_file(part) for part in parts_of(path) if part.is_file()}


def _saved(where: Path) -> SavedBaseline:
    """A folder's baseline.json, whose files are still those that it names."""
    tree = read_json("baseline", where / BASELINE)
    told = validate(SavedBaseline, tree, str(where / BASELINE))
    for name, expected in told.files.items():
        _check_digest(_inside(where, name), expected, BASELINE)
    return told


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
    evaluation = _saved(where).evaluation if (where / BASELINE).is_file() else None
    return Subject(where, path, spec, described, evaluation)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
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
    except (OSError, DecodeError, ValidationError):
        return None  # no ONNX, or not to be read: the runtime has the better words


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
