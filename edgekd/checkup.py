"""What this machine can do, what it can't, and the command that mends it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from edgekd.engine.workspace import default_workspace
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import Runnable
from edgekd.resources import shipped

LEAST_FREE_GIB = 2.0
EXTRAS = {
    "demo": "the digits of `edgekd build digits`",
    "optimum": "Hugging Face Optimum (not called yet)",
    "neural-compressor": "Intel Neural Compressor (not called yet)",
    "openvino": "OpenVINO as a runtime to measure and check models in",
    "litert": "LiteRT as a runtime to measure and check models in",
    "tensorrt": "NVIDIA TensorRT (not run so far; its libraries come from NVIDIA's own index)",
}


@dataclass(frozen=True)
class Finding:
    name: str
    state: Literal["good", "absent", "wrong"]
    says: str
    mend: str = ""


def examine(workspace: Path | None = None) -> list[Finding]:
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _links,
        _cpu,
        _runtimes,
        lambda: _workspace(workspace or default_workspace()),
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    yield Finding("python", "good", f"{platform.python_implementation()} {platform.python_version()}")


def _packages() -> Iterator[Finding]:
    """What the core and each extra ask for, by the metadata of the installed edgekd."""
    for requirement in map(Requirement, requires("edgekd") or []):
        extra = _extra(requirement)
        if extra not in (None, *EXTRAS):
            continue
        name = requirement.name if extra is None else f"[{extra}] {requirement.name}"
        mend = f"pip install '{requirement.name}{requirement.specifier}'"
        if extra is not None:
            mend = f"pip install 'edgekd[{extra}]'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            adds = f"not installed; would add {EXTRAS[extra]}" if extra else "not installed"
            yield Finding(name, "absent" if extra else "wrong", adds, mend)
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Finding(name, "good", found)
        else:
            yield Finding(name, "wrong", f"{found} is installed, {requirement.specifier} is needed", mend)


def _extra(requirement: Requirement) -> str | None:
    match = re.search(r"extra\s*==\s*['\"]([^'\"]+)", str(requirement.marker or ""))
    return match[1] if match else None


def _links() -> Iterator[Finding]:
    for kind in ("exporters", "pipelines", "hw_profiles"):
        if not (files("edgekd") / kind).is_dir():
            yield Finding(
                f"edgekd/{kind}", "wrong", "is a file and no folder: the checkout has no symbolic links",
                "git config core.symlinks true && git checkout -- edgekd",
            )  # fmt: skip


def _cpu() -> Iterator[Finding]:
    device = cpu()
    pays = "8-bit dot products" if device.has_int8_dot else "no 8-bit dot products: int8 gains less, weights get 7 bits"
    yield Finding("cpu", "good", f"{device.model}, {device.architecture}, {', '.join(device.isa) or 'plain'}: {pays}")


def _runtimes() -> Iterator[Finding]:
    """Every runtime of every local device profile that is installed; those that read ONNX are asked to add 1 to 1."""
    profiles = [load_profile(name) for name in shipped("hw_profiles")]
    specs = {spec.name: spec for profile in profiles if profile.connection == "local" for spec in profile.runnable}
    for name, spec in specs.items():
        try:
            found = version(spec.packages[0])
        except PackageNotFoundError:
            yield Finding(f"runtime {name}", "absent", "not installed", f"pip install 'edgekd[{name}]'")
            continue
        if ".onnx" not in spec.suffixes:
            yield Finding(f"runtime {name}", "good", f"installed, {found}")
            continue
        try:
            answer = _ask(spec)
            state: Literal["good", "wrong"] = "good" if answer == [2.0] else "wrong"
            yield Finding(f"runtime {name}", state, "answers" if state == "good" else f"says that 1 + 1 is {answer}")
        except Exception as error:  # noqa: BLE001  a runtime may fail in any way: that is what is asked
            mend = f"pip install --force-reinstall {' '.join(spec.packages)}"
            yield Finding(f"runtime {name}", "wrong", f"does not answer: {error}", mend)


def _ask(spec: Runnable) -> list[float]:
    """What it takes 1 + 1 for."""
    import numpy as np

    from edgekd.hardware.runtime import open_session

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        path.write_bytes(_one_plus_x())
        session = open_session(path, spec)
        (answer,) = session.run({"x": np.ones(1, np.float32)})
        session.close()
    return [float(value) for value in answer]


def _one_plus_x() -> bytes:
    from onnx import TensorProto, helper

    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "one", [x], [y], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def _workspace(root: Path) -> Iterator[Finding]:
    existing = next(p for p in (root, *root.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield Finding(
            "workspace", "wrong", f"{root} cannot be written", "choose another with --workspace or EDGEKD_HOME"
        )
        return
    free = shutil.disk_usage(existing).free / 2**30
    state: Literal["good", "wrong"] = "good" if free >= LEAST_FREE_GIB else "wrong"
    mend = "" if state == "good" else "edgekd cache prune --older-than 7d, or free some space"
    yield Finding("workspace", state, f"{root}, {free:.1f} GiB free", mend)
