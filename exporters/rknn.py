"""Rockchip NPUs: the QDQ graph compiled by RKNN-Toolkit2 in a toolchain of its own, with its simulator's answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter

from edgekd.deploy.exporter import Compiled, Costs, Deployable, Exported, Written
from edgekd.deploy.fusion import stated_coverage
from edgekd.deploy.proof import refusal
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.exporters.compilers import Asked, own, parity_of
from edgekd.exporters.graphs import for_one_sample
from edgekd.hardware.runtime import Array, Session
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec
from edgekd.toolchains.call import call
from edgekd.toolchains.catalogue import toolchain

MODEL, SOURCE = "model.rknn", "model.onnx"
PLATFORMS = ("rk3588", "rk3566", "rk3568", "rk3562", "rk3576", "rv1103", "rv1106")
OPSET = 19  # the newest opset that the toolkit reads
NOTES = (
    "latency: none, RKNN-Toolkit2 measures on boards alone",
    "numerics: simulator, RKNN-Toolkit2's of what it built, not of the file",
)


class RknnExporter:
    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        spec = _own(runtime)
        graph, described = for_one_sample("rknn", deployable)
        if len(described.inputs) != 1:
            raise UnsupportedError(f"exporter rknn: {len(described.inputs)} inputs; one image is what it takes")
        onnx.save(onnx.version_converter.convert_version(graph, OPSET), out / SOURCE)
        asked = {"model": str((out / SOURCE).resolve()), "platform": spec.options["platform"]}
        call("rknn", "rknn_models", asked | {"compile_to": str((out / MODEL).resolve())})
        return Written((MODEL, SOURCE), MODEL, described)

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        spec, written = _own(runtime), self.write(deployable, runtime, work.out)
        parity = parity_of(self.opened(Compiled(work.out, spec, written.signature)), written.signature, deployable)
        refused = refusal(parity) if deployable.trained else None
        covered = stated_coverage(onnx.load(deployable.onnx))
        return Exported(
            written.files, MODEL, written.signature, covered, parity, refused=refused, notes=NOTES,
            costs=self.costs(work.out),
        )  # fmt: skip

    def opened(self, made: Compiled) -> Session:
        """The simulator, of the graph that the file was compiled from."""
        platform = made.runtime.options["platform"]
        return Asked(made.signature, lambda feeds: simulated(made.folder / SOURCE, platform, feeds))

    def costs(self, _: Path, /) -> Costs:
        (toolkit,) = (package for package in toolchain("rknn").alone if package.startswith("rknn-toolkit2"))
        return Costs("none", told_by=f"{toolkit}, which says nothing of time without a board")


def simulated(model: Path, platform: str, feeds: Mapping[str, Array]) -> Array:
    """What the simulator answers [N, ...] to arrays [N, ...] of the one input."""
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copyfile(model, Path(folder) / SOURCE)  # the toolkit leaves files beside what it reads
        files = {name: str(Path(folder) / f"{name}.npz") for name in ("feeds", "answers")}
        arrays: dict[str, Any] = {name: np.ascontiguousarray(x) for name, x in feeds.items()}
        np.savez(files["feeds"], **arrays)
        call("rknn", "rknn_models", {"model": str(source), "platform": platform, **files})
        with np.load(files["answers"], allow_pickle=False) as archive:
            answers: Array = archive["answers"]
    return answers


def _own(runtime: RuntimeSpec) -> CompilerSpec:
    spec = own("rknn", "rknn", runtime)
    if spec.options.get("platform") not in PLATFORMS:
        raise ConfigError(f"exporter rknn: platform: {spec.options.get('platform')!r}; known: {', '.join(PLATFORMS)}")
    return spec
