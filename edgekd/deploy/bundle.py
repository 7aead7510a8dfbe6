"""The folder that is shipped: complete or not there, and left alone when nothing changed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from filelock import FileLock

from edgekd.budget import State, Verdict, worst
from edgekd.data import signature
from edgekd.data.signature import Signature
from edgekd.engine.digest import digest_file, digest_folder, digest_of
from edgekd.engine.lock import Lock
from edgekd.engine.store import Artifact
from edgekd.engine.swap import put_in_place
from edgekd.errors import UnavailableError
from edgekd.hardware.specs import CompilerSpec, read_runtime

SCHEMA = 1
RUNTIMES = {"runtimes.py": ("edgekd.deploy", "bundle_runtimes.py")}
CODE = {"run.py": ("edgekd.deploy", "run_bundle.py"), "pixels.py": ("edgekd.data", "pixels.py")} | RUNTIMES


@dataclass(frozen=True)
class Built:
    """What a build or an export left for one target."""

    target: str
    folder: Path
    report: dict[str, Any]
    verdicts: tuple[Verdict, ...]

    undecided: tuple[str, ...] = ()  # limits that nothing here can decide

    @property
    def state(self) -> State:
        return worst(self.verdicts)


@dataclass(frozen=True)
class Parts:
    model: Artifact  # exported
    report: Artifact
    lock: Lock
    data: Artifact | None = None  # that samples are taken from
    samples: int = 0  # images of the test split that go with it, because the person asked
    code: Mapping[str, tuple[str, str]] = field(default_factory=lambda: CODE)  # by name: the package and file it is of
    more: Mapping[str, Path | str] = field(default_factory=dict)  # by place in the bundle: a file, or what it says


def publish(folder: Path, parts: Parts) -> Path:
    """
    Put the bundle at `folder`; what stood there is replaced whole, or kept where it is the same.

    One process at a time for one folder, whatever their workspaces.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        mark = f".edgekd-{digest_of(folder.name)[:16]}"  # no other target's name can begin with it
        with (
            FileLock(folder.parent / f"{mark}.lock"),
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{mark}-") as work,
        ):
            for stale in folder.parent.glob(f"{mark}-*"):
                if stale != Path(work):
                    shutil.rmtree(stale, ignore_errors=True)  # of a build that was killed right here
            made = Path(work) / "new"
            made.mkdir()
            _assemble(made, parts)
            if not folder.is_dir() or digest_folder("bundle", made) != digest_folder("bundle", folder):
                put_in_place(made, folder, Path(work) / "old")
    except OSError as error:
        raise UnavailableError(
            f"{folder}: cannot write the bundle: {error.strerror}; choose another place with --out"
        ) from error
    return folder


def _assemble(folder: Path, parts: Parts) -> None:
    exported = parts.model.json("export.json")
    entry = exported["entry"]
    for name in exported["files"]:
        shutil.copyfile(parts.model.file(name), folder / name)
    for name in ("report.json", "report.md"):
        shutil.copyfile(parts.report.file(name), folder / name)
    (folder / "edgekd.lock").write_text(parts.lock.dump(), "utf-8")
    here = not isinstance(read_runtime(json.dumps(exported["runtime"])), CompilerSpec)
    for name, (package, source) in parts.code.items() if here else ():  # what was compiled runs on its device alone
        (folder / name).write_text((files(package) / source).read_text("utf-8"), "utf-8")
    described = signature.read(parts.model.path)
    for place, given in parts.more.items():
        _add(folder / place, given)
    if here and entry.endswith(".onnx") and described.outputs[0].meaning == "logits" and described.text is None:
        (folder / "config.json").write_text(json.dumps(hub_config(described), indent=1), "utf-8")
    if parts.samples and parts.data is not None:
        _write_samples(folder / "samples", parts.data, parts.samples)
    written = sorted(p for p in folder.rglob("*") if p.is_file())
    (folder / "manifest.json").write_text(json.dumps(_manifest(parts, entry, folder, written), indent=1), "utf-8")


def _add(path: Path, given: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(given, str):
        path.write_text(given, "utf-8")
    else:
        shutil.copyfile(given, path)


def hub_config(described: Signature) -> dict[str, Any]:
    """What Hugging Face Optimum looks for beside an ONNX file, with the labels; the net is of no class that it has."""
    labels = described.outputs[0].labels
    told: dict[str, Any] = {"model_type": "edgekd"}
    if labels:
        told["id2label"] = {str(number): label for number, label in enumerate(labels)}
        told["label2id"] = {label: number for number, label in enumerate(labels)}
    return told


def _manifest(parts: Parts, entry: str, folder: Path, written: list[Path]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "edgekd": parts.lock.edgekd,
        "pipeline": parts.lock.pipeline["name"],
        "target": parts.lock.target,
        "model": entry,
        "signature": signature.read(parts.model.path).model_dump(mode="json", by_alias=True),
        "runtime": parts.model.json("export.json")["runtime"],
        "files": {p.relative_to(folder).as_posix(): digest_file(p) for p in written},
    }


def _write_samples(folder: Path, data: Artifact, count: int) -> None:
    import numpy as np

    from edgekd.data.dataset import Dataset

    test = Dataset(data).split("test")
    folder.mkdir()
    for number in np.linspace(0, len(test) - 1, min(count, len(test))).astype(int):
        np.save(folder / f"{number:05d}-label-{test.labels[number]}.npy", test.images[number], allow_pickle=False)
