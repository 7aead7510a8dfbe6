"""Arm Ethos-U: Vela's compilation of the int8 TFLite file, with what the compiler estimates of its time and memory."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekd.data.feeds import laid_out
from edgekd.data.signature import Signature
from edgekd.deploy.exporter import Compiled, Costs, Deployable, Exported, Written
from edgekd.deploy.fusion import stated_coverage
from edgekd.deploy.proof import prove
from edgekd.deploy.reference import read
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.exporters.compilers import check_installed, own
from edgekd.exporters.tflite.file import as_tflite, float_file, integer_file
from edgekd.exporters.tflite.integers import Edge, operators, quantised, real
from edgekd.hardware.runtime import Array, Described, Session
from edgekd.hardware.runtimes.litert import LiteRtSession
from edgekd.hardware.specs import CompilerSpec, LiteRtSpec, RuntimeSpec

COMPILED, SOURCE, ESTIMATE = "model_vela.tflite", "model.tflite", "estimate.json"
OPTIONS = ("accelerator-config", "config", "system-config", "memory-mode")  # Vela's own defaults are another device's
ON_CPU = "cpu-operators"  # an option of ours: `allowed` lets operators stay on the CPU, outside of the estimate
TIMEOUT_S = 600


class EthosUExporter:
    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        spec = _own(runtime)
        file, edges = integer_file("ethos-u", deployable)
        check_installed("ethos-u", "ethosu", extra="litert")
        (out / SOURCE).write_bytes(file)
        (out / ESTIMATE).write_text(json.dumps(edges | compiled(file, spec, out), indent=1), "utf-8")
        return Written((COMPILED, SOURCE, ESTIMATE), COMPILED, as_tflite(deployable.signature))

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        written, spec = self.write(deployable, runtime, work.out), _own(runtime)
        told = json.loads((work.out / ESTIMATE).read_text("utf-8"))
        floats = work.scratch / SOURCE
        floats.write_bytes(float_file("ethos-u", deployable))
        session = LiteRtSession(floats, LiteRtSpec(xnnpack=False, dialect=spec.dialect))
        integers = self.opened(Compiled(work.out, spec, written.signature))
        parity, refused = prove(session, written.signature, deployable)
        _same_answers(session, integers, written.signature, deployable, told)
        session.close()
        integers.close()
        costs = self.costs(work.out)
        notes = (
            f"latency: estimated, {told['latency_ms']:.3f} ms by {costs.told_by}: only to be compared at the same",
            f"numerics: reference, of {SOURCE} in LiteRT; no runtime here opens what Vela wrote",
            *_left(told["cpu_operators"]),
        )
        covered = stated_coverage(onnx.load(deployable.onnx))
        return Exported(
            written.files, COMPILED, written.signature, covered, parity, refused=refused, notes=notes, costs=costs
        )

    def opened(self, made: Compiled) -> Session:
        """The file before Vela, in LiteRT's own kernels."""
        told = json.loads((made.folder / ESTIMATE).read_text("utf-8"))
        spec = LiteRtSpec(xnnpack=False, dialect=made.runtime.dialect)
        return WithFloats(LiteRtSession(made.folder / SOURCE, spec), told)

    def costs(self, folder: Path, /) -> Costs:
        """SRAM is what the NPU works in; flash what it reads weights from, where the memory mode has them there."""
        told = json.loads((folder / ESTIMATE).read_text("utf-8"))
        by = f"Vela {told['vela']} for {told['accelerator']}, {told['system_config']}, {told['memory_mode']}"
        return Costs("estimated", told["latency_ms"], told["cycles"], told["flash_kib"] or None, told["sram_kib"], by)


class WithFloats:
    """A session of a file without floats, that reads and answers floats."""

    def __init__(self, integers: LiteRtSession, told: Mapping[str, Any]) -> None:
        self._integers = integers
        self._edges = {row["name"]: Edge(**row) for row in told["inputs"]}
        (self._answer,) = (Edge(**row) for row in told["outputs"])

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        answers = self._integers.run({name: quantised(x, self._edges[name]) for name, x in feeds.items()})
        return [real(answers[0], self._answer)]

    def describe(self) -> Described:
        told = self._integers.describe()
        return replace(told, inputs=tuple(replace(one, dtype="float32") for one in told.inputs))

    def close(self) -> None:
        self._integers.close()


def compiled(file: bytes, spec: CompilerSpec, out: Path) -> dict[str, Any]:
    """
    Leave Vela's file in `out`; what it estimates. Raises UnsupportedError where operators stay on the CPU, which an
    estimate leaves out, and for no cycles at all: Vela ends well on files of which it takes nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / SOURCE
        source.write_bytes(file)
        words = [word for key in OPTIONS for word in (f"--{key}", spec.options[key])]
        command = [sys.executable, "-m", "ethosu.vela", str(source), *words, "--output-dir", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"exporter ethos-u: Vela did not end within {TIMEOUT_S} s") from error
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or [f"it ended with {done.returncode}"]
            raise ConfigError(f"exporter ethos-u: Vela: {lines[-1]}")
        made = (Path(folder) / COMPILED).read_bytes()
        (table,) = Path(folder).glob("*_summary_*.csv")
        with table.open(newline="", encoding="utf-8") as rows:
            (row,) = csv.DictReader(rows)
    left = [f"{name} ({tensor})" for name, tensor in operators(made) if name != "ethos-u"]
    if left and spec.options.get(ON_CPU) != "allowed":
        raise UnsupportedError(
            f"exporter ethos-u: {left[0]} stays on the CPU, and {len(left)} operators do in all; the estimate leaves "
            f"them out. Take another operator, or set the profile's option {ON_CPU}: allowed"
        )
    told = estimate(row) | {"vela": version("ethos-u-vela"), "cpu_operators": left}
    if told["cycles"] <= 0:
        raise UnsupportedError("exporter ethos-u: Vela put nothing on the NPU: it counts no cycles")
    (out / COMPILED).write_bytes(made)
    return told


def estimate(row: Mapping[str, str]) -> dict[str, Any]:
    """Vela's summary, in our units."""
    return {
        "schema": 1,
        "latency_kind": "estimated",
        "latency_ms": 1e3 * float(row["inference_time"]),
        "cycles": int(float(row["cycles_total"])),
        "macs": int(float(row["nn_macs"])),
        "sram_kib": float(row["sram_memory_used"]),
        "dram_kib": float(row["dram_memory_used"]),
        "flash_kib": float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"]),
        "clock_mhz": float(row["core_clock"]) / 1e6,
        "accelerator": row["accelerator_configuration"],
        "system_config": row["system_config"],
        "memory_mode": row["memory_mode"],
    }


def _same_answers(
    floats: Session, integers: Session, described: Signature, known: Deployable, told: Mapping[str, Any]
) -> None:
    """The file that Vela reads answers what the proof was of, on the first samples: its edges alone are others."""
    reference = read(known.reference)
    feeds = {spec.name: laid_out(reference.feeds[spec.name][:8], spec) for spec in described.inputs}
    (answer,) = told["outputs"]
    for sample in range(len(next(iter(feeds.values())))):
        one = {name: x[sample : sample + 1] for name, x in feeds.items()}
        if not np.allclose(integers.run(one)[0], floats.run(one)[0], atol=1e-3 * answer["scale"]):
            raise UnsupportedError("exporter ethos-u: without floats at its edges the file answers otherwise")


def _left(names: Sequence[str]) -> tuple[str, ...]:
    return (f"{len(names)} operators stay on the CPU, outside of the estimate: {', '.join(names)}",) if names else ()


def _own(runtime: RuntimeSpec) -> CompilerSpec:
    runtime = own("ethos-u", "vela", runtime)
    if strange := sorted(set(runtime.options) - {*OPTIONS, ON_CPU}):
        raise ConfigError(f"exporter ethos-u: no option {strange[0]!r}; known: {', '.join((*OPTIONS, ON_CPU))}")
    if missing := [key for key in OPTIONS if key not in runtime.options]:
        raise ConfigError(
            f"exporter ethos-u: the profile lacks the option {missing[0]!r}, without which Vela takes another device's"
        )
    return runtime
