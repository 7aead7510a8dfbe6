"""Qualcomm's Hexagon HTP: a context binary, compiled here by ONNX Runtime's QNN provider, tried in its simulator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file

from edgekd.deploy.exporter import Compiled, Costs, Deployable, Exported, Written, lacking
from edgekd.deploy.fusion import stated_coverage
from edgekd.deploy.proof import refusal
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.exporters.compilers import Asked, check_installed, own, parity_of
from edgekd.exporters.graphs import for_one_sample, norm_scales_as_uint8
from edgekd.hardware.runtime import Array, Session
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec

FILE = "model_ctx.onnx"
PACKAGE = "onnxruntime_qnn"
ARCHITECTURES = ("73", "75", "79")  # contexts of v68 that were compiled on x86 fail on devices
TIMEOUT_S = 600
LEFT = re.compile(r"\{ name: (?P<name>[^,]*), type: (?P<kind>[^ }]*) \}")  # what the provider leaves to the CPU
NOTES = (
    "latency: none, the simulator's times and cycles are the host's",
    "numerics: simulator, the HTP's on this machine",
    "compiled whole for the HTP: session.disable_cpu_ep_fallback is on",
)


class QnnExporter:
    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        spec = _own(runtime)
        graph, described = for_one_sample("qnn", deployable)
        norm_scales_as_uint8(graph)  # the provider takes no others
        check_installed("qnn", PACKAGE)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            onnx.save(graph, source)
            asked = {"model": source.name, "options": spec.options, "compile_to": FILE}  # a path would be in the file
            _ask(asked, graph, Path(folder))
            shutil.copyfile(Path(folder) / FILE, out / FILE)
        return Written((FILE,), FILE, described)

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        written, spec = self.write(deployable, runtime, work.out), _own(runtime)
        parity = parity_of(self.opened(Compiled(work.out, spec, written.signature)), written.signature, deployable)
        refused = refusal(parity) if deployable.trained else None
        covered = stated_coverage(onnx.load(deployable.onnx))
        return Exported(
            written.files, FILE, written.signature, covered, parity, refused=refused, notes=NOTES,
            costs=self.costs(work.out),
        )  # fmt: skip

    def costs(self, _: Path, /) -> Costs:
        by = f"onnxruntime-qnn {version('onnxruntime-qnn')}, which says nothing of time or memory"
        return Costs("none", told_by=by)

    def opened(self, made: Compiled) -> Session:
        """The HTP's simulator."""
        empty = onnx.ModelProto()  # what runs was compiled whole: nothing of it is left to be named
        return Asked(made.signature, lambda feeds: simulated(made.folder / FILE, made.runtime, feeds, empty))


def simulated(model: Path, spec: CompilerSpec, feeds: Mapping[str, Array], graph: onnx.ModelProto) -> Array:
    """What the compiled file answers [N, ...] in the simulator, to arrays [N, ...] by input."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder) / f"{name}.safetensors") for name in ("feeds", "answers")}
        save_file({name: np.ascontiguousarray(x) for name, x in feeds.items()}, files["feeds"])
        _ask({"model": str(model.resolve()), "options": spec.options, **files}, graph, Path(folder))
        return load_file(files["answers"])["answers"]


def _ask(asked: Mapping[str, Any], graph: onnx.ModelProto, place: Path) -> None:
    """Raises UnsupportedError with the first layer that the provider does not take."""
    command = [sys.executable, "-m", "edgekd.exporters.qnn_worker", json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=place)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"exporter qnn: the compiler did not end within {TIMEOUT_S} s") from error
    if done.returncode == 0:
        return
    if left := LEFT.search(done.stderr):
        layer = f"layer {left['name']!r} ({left['kind']}) does not run on the HTP"
        raise UnsupportedError(f"exporter qnn: {layer}; a file that is half the CPU's is not written")
    lines = done.stderr.strip().splitlines() or [f"the compiler ended with {done.returncode}"]
    raise UnsupportedError(f"exporter qnn: {lacking(graph, lines[-1])}")


def _own(runtime: RuntimeSpec) -> CompilerSpec:
    spec = own("qnn", "qnn", runtime)
    if spec.options.get("htp_arch") not in ARCHITECTURES:
        raise ConfigError(
            f"exporter qnn: htp_arch: {spec.options.get('htp_arch')!r}; known: {', '.join(ARCHITECTURES)}"
        )
    return spec
