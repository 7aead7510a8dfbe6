"""Microcontrollers: the int8 TFLite file as a C array, with TensorFlow Lite Micro's answers and the arena it needs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file

from edgekd.deploy.exporter import Compiled, Costs, Deployable, Exported, Written
from edgekd.deploy.fusion import stated_coverage
from edgekd.deploy.proof import refusal
from edgekd.engine.stage import Work
from edgekd.errors import UnavailableError, UnsupportedError
from edgekd.exporters.compilers import Asked, check_installed, own, parity_of
from edgekd.exporters.tflite.file import as_tflite, integer_file
from edgekd.exporters.tflite.integers import Edge, quantised, real
from edgekd.hardware.runtime import Array, Session
from edgekd.hardware.specs import RuntimeSpec

MODEL, SOURCE, HEADER, FOOTPRINT = "model.tflite", "model_data.cc", "model_data.h", "footprint.json"
SAMPLES, TIMEOUT_S = 64, 600
NOTES = (
    "latency: none, the time of a host's interpreter says nothing of a microcontroller",
    "numerics: reference, TensorFlow Lite Micro's own kernels on this machine, not CMSIS-NN's",
)


class TfliteMicroExporter:
    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        own("tflite-micro", "tflite-micro", runtime)
        file, edges = integer_file("tflite-micro", deployable)
        (out / MODEL).write_bytes(file)
        (out / HEADER).write_text(header(len(file)), "utf-8")
        (out / SOURCE).write_text(c_array(file), "utf-8")
        (out / FOOTPRINT).write_text(json.dumps({"schema": 1, "flash_bytes": len(file), **edges}, indent=1), "utf-8")
        return Written((MODEL, SOURCE, HEADER, FOOTPRINT), MODEL, as_tflite(deployable.signature))

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        check_installed("tflite-micro", "tflite_micro", extra="litert")
        spec, written = own("tflite-micro", "tflite-micro", runtime), self.write(deployable, runtime, work.out)
        told = json.loads((work.out / FOOTPRINT).read_text("utf-8"))
        arena = _ask({"model": str((work.out / MODEL).resolve())})["arena_bytes"]
        (work.out / FOOTPRINT).write_text(json.dumps(told | {"arena_bytes": arena}, indent=1), "utf-8")
        (work.out / HEADER).write_text(header(told["flash_bytes"], arena), "utf-8")
        parity = parity_of(self.opened(Compiled(work.out, spec, written.signature)), written.signature, deployable)
        refused = refusal(parity) if deployable.trained else None
        covered = stated_coverage(onnx.load(deployable.onnx))
        notes = (*NOTES, f"{told['flash_bytes']:,} bytes of flash for the model, {arena:,} bytes of RAM for its arena")
        return Exported(
            written.files, MODEL, written.signature, covered, parity, refused=refused, notes=notes,
            costs=self.costs(work.out),
        )  # fmt: skip

    def costs(self, folder: Path, /) -> Costs:
        """The least arena is found when a file is exported, and not known of one that is just written."""
        told = json.loads((folder / FOOTPRINT).read_text("utf-8"))
        by = f"TensorFlow Lite Micro {version('tflite-micro')}: the file, and the least arena on this machine"
        ram_kib = told["arena_bytes"] / 1024 if "arena_bytes" in told else None
        return Costs("none", flash_kib=told["flash_bytes"] / 1024, ram_kib=ram_kib, told_by=by)

    def opened(self, made: Compiled) -> Session:
        """TensorFlow Lite Micro's own kernels, on this machine."""
        told = json.loads((made.folder / FOOTPRINT).read_text("utf-8"))
        edges = {row["name"]: Edge(**row) for row in told["inputs"]}
        (answer,) = (Edge(**row) for row in told["outputs"])

        def ask(feeds: Mapping[str, Array]) -> Array:
            integers = [quantised(feeds[one.name], edges[one.name]) for one in made.signature.inputs]
            return real(interpreted(made.folder / MODEL, integers), answer)  # type: ignore[no-any-return]

        return Asked(made.signature, ask)


def interpreted(model: Path, feeds: Sequence[Array]) -> Array:
    """What TensorFlow Lite Micro answers [N, ...], int8, to the inputs' int8 arrays [N, ...]."""
    with tempfile.TemporaryDirectory() as folder:
        named = {str(number): np.ascontiguousarray(x) for number, x in enumerate(feeds)}
        save_file(named, Path(folder) / "feeds.safetensors")
        _ask({"model": str(model.resolve()), "folder": folder})
        return load_file(Path(folder) / "answers.safetensors")["answers"]


def header(size: int, arena: int | None = None) -> str:
    """What a firmware includes."""
    needs = "" if arena is None else f"constexpr unsigned kTensorArenaBytes = {arena};  // the least that was enough\n"
    return f"#pragma once\n\nextern const unsigned char g_model[];\nconstexpr unsigned kModelBytes = {size};\n{needs}"


def c_array(file: bytes) -> str:
    rows = (", ".join(f"0x{byte:02x}" for byte in file[at : at + 16]) for at in range(0, len(file), 16))
    body = ",\n    ".join(rows)
    return f'#include "{HEADER}"\n\nalignas(16) extern const unsigned char g_model[] = {{\n    {body}}};\n'


def _ask(asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "edgekd.exporters.tflite_micro_worker", json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"exporter tflite-micro: the interpreter did not end within {TIMEOUT_S} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line] or [f"it ended with {done.returncode}"]
        why = next((line for line in lines if line.startswith("Didn't find op")), lines[-1])
        raise UnsupportedError(f"exporter tflite-micro: {why}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
