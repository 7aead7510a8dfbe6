"""int8 of an ONNX graph that comes without torch: ONNX Runtime's own quantiser, told the dialect of the runtime."""

from __future__ import annotations

import io
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_dynamic,
    quantize_static,
    save_tensors_data,
)
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekd.deploy.proof import family
from edgekd.deploy.shortcuts import as_convolutions, drop_unread
from edgekd.errors import ConfigError
from edgekd.hardware.dialect import Activation, Dialect
from edgekd.quant.adjust.bias import correct_biases
from edgekd.quant.adjust.equalise import equalise
from edgekd.quant.adjust.smooth import smooth
from edgekd.quant.ranges import Cost, best_ranges, divergence, histograms, square_error
from edgekd.quant.stages import Adjustment, Calibration

Array = NDArray[Any]
METHODS: dict[Calibration, CalibrationMethod] = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.MinMax,  # and edgekd's own ranges on top
    "mse": CalibrationMethod.MinMax,
}
COSTS: dict[Calibration, Cost] = {"entropy": divergence, "mse": square_error}
PRODUCTS = ("MatMul", "Gemm", "Conv")
BATCH = 32  # of calibration, where it is free
KINDS = tuple(sorted({*QLinearOpsRegistry, *QDQRegistry}))
TYPES: dict[Activation, tuple[QuantType, bool]] = {  # and whether they are symmetric
    "uint8-affine": (QuantType.QUInt8, False),
    "int8-affine": (QuantType.QInt8, False),
    "int8-symmetric": (QuantType.QInt8, True),
}


def quantise(
    model: Path,
    feeds: Mapping[str, Array],
    dialect: Dialect,
    out: Path,
    *,
    method: Calibration = "min-max",
    adjust: Adjustment | None = None,
    ranges: Path | None = None,
) -> None:
    """
    Write `out`: the graph of `model` with QDQ nodes, its ranges those that `feeds` [N, ...] by input make, or the
    extremes that `see_ranges` wrote to `ranges`.

    Weights are int8, symmetric, one scale an output channel; activations as the dialect says. Batch norms are folded
    and shapes inferred first: without that the quantiser leaves most convolutions in float, and says nothing.
    """
    kind, symmetric = TYPES[dialect.activation]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        prepare(model, prepared)
        graph = onnx.load(prepared)
        batch = fixed_batch(graph)
        if adjust is not None:
            adjusted(graph, adjust, feeds, dialect)
            onnx.save(graph, prepared)
        products = dialect.between_products == "float" and family(graph) == "transformer"
        kinds = list(PRODUCTS) if products else [kind for kind in KINDS if kind not in dialect.float_operators]
        options: dict[str, Any] = {
            "ActivationSymmetric": symmetric,
            "WeightSymmetric": True,
            "QuantizeBias": not symmetric,  # TensorRT wants biases in float
            "OpTypesToExcludeOutputQuantization": kinds if products else [],
        }
        if method in COSTS:
            levels = 255 if symmetric else 256
            seen = histograms(prepared, _Reader(feeds, batch), kinds, Path(folder))
            found = best_ranges(seen, COSTS[method], levels, symmetric)
            options["TensorQuantOverrides"] = {
                name: [{"rmin": np.array(low, np.float32), "rmax": np.array(high, np.float32)}]
                for name, (low, high) in found.items()
            }
        quantize_static(
            str(prepared),
            str(out),
            None if ranges else _Reader(feeds, batch),
            calibration_cache_path=ranges,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            activation_type=kind,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=dialect.reduced_range,
            calibrate_method=METHODS[method],
            extra_options=options,
        )
    graph = onnx.load(out)
    if dialect.logits == "float":
        release_outputs(graph)
    as_convolutions(graph)
    onnx.save(graph, out)


def see_ranges(model: Path, feeds: Mapping[str, Array], out: Path) -> None:
    """Write `out`: the extremes of every activation that some dialect may quantise: all share them."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        prepare(model, prepared)
        calibrator = create_calibrator(
            prepared, list(KINDS), augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        calibrator.collect_data(_Reader(feeds, fixed_batch(onnx.load(prepared))))
        save_tensors_data(calibrator.compute_data(), out)


def adjusted(graph: onnx.ModelProto, adjust: Adjustment, feeds: Mapping[str, Array], dialect: Dialect) -> int:
    """In place; how many layers were changed."""
    batch = fixed_batch(graph) or min(BATCH, len(next(iter(feeds.values()))))
    if adjust == "equalisation":
        return equalise(graph)
    if adjust == "smooth":
        return smooth(graph, feeds, batch)
    return correct_biases(graph, feeds, batch, dialect.weight_max)


def quantise_dynamic(model: Path, dialect: Dialect, out: Path) -> None:
    """
    Write `out`: matrix products with int8 weights, whose inputs are quantised as they come. No convolutions: their
    dynamic kernels are several times slower than float ones.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        prepare(model, prepared)
        graph = onnx.load(prepared)
        del graph.graph.value_info[:]  # the quantiser refuses shapes that it infers otherwise
        onnx.save(graph, prepared)
        quantize_dynamic(
            str(prepared), str(out), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
            reduce_range=dialect.reduced_range, weight_type=QuantType.QInt8,
        )  # fmt: skip


def release_outputs(graph: onnx.ModelProto) -> None:
    """In place: an output that ends in Q and DQ is what they were made of, in float."""
    makers = {name: node for node in graph.graph.node for name in node.output}
    for output in graph.graph.output:
        last = makers.get(output.name)
        before = makers.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
        source = makers.get(before.input[0]) if before is not None and before.op_type == "QuantizeLinear" else None
        if last is None or before is None or source is None:
            continue
        old = before.input[0]
        for node in graph.graph.node:
            node.input[:] = [output.name if name == old else name for name in node.input]
        source.output[:] = [output.name if name == old else name for name in source.output]
        graph.graph.node.remove(last)
        if not any(before.output[0] in node.input for node in graph.graph.node):
            graph.graph.node.remove(before)
    drop_unread(graph)


def fixed_batch(graph: onnx.ModelProto) -> int | None:
    """The first axis of the first input, where it is fixed."""
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    return int(shape[0].dim_value) if shape and shape[0].HasField("dim_value") else None


def prepare(model: Path, out: Path) -> None:
    """
    Fold batch norms, infer shapes, and say a mean over height and width as the pooling that runtimes have in int8.

    Symbolic inference is left out for convolutional nets, whose shapes ONNX's own inference finds, and where it
    gives up, as on most transformers.
    """
    with _without_torch():
        import onnxruntime.tools.symbolic_shape_infer  # noqa: F401  which quant_pre_process imports
    for skip in (False, True):
        try:
            if not skip and family(onnx.load(model)) == "conv":
                continue
            paths = str(model.absolute()), str(out.absolute())
            with _elsewhere():
                quant_pre_process(*paths, skip_symbolic_shape=skip)
            graph = onnx.load(out)
            pool_means(graph)
            onnx.save(graph, out)
            return
        except Exception as error:
            if skip:
                raise ConfigError(f"{model}: cannot be prepared for quantisation: {error}") from error


def pool_means(graph: onnx.ModelProto) -> None:
    """In place: ReduceMean over the last two of four axes becomes GlobalAveragePool, and Flatten where axes go."""
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.graph.value_info, *graph.graph.input)}
    for node in list(graph.graph.node):
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4:
            continue
        told = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = told.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in constants:
            axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
            continue
        keeps = bool(told.get("keepdims", 1))
        pooled = node.output[0] if keeps else f"{node.output[0]}.pooled"
        place = list(graph.graph.node).index(node)
        graph.graph.node.remove(node)
        made = [helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name)]
        if not keeps:
            made.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}.flatten"))
        for offset, new in enumerate(made):
            graph.graph.node.insert(place + offset, new)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out the samples in batches, once."""

    def __init__(self, feeds: Mapping[str, Array], batch: int | None) -> None:
        self._batches = self._cut(feeds, batch or BATCH, whole=batch is not None)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(feeds: Mapping[str, Array], batch: int, *, whole: bool) -> Iterator[dict[str, Array]]:
        size = len(next(iter(feeds.values())))
        for start in range(0, size - size % batch if whole else size, batch):
            yield {name: np.ascontiguousarray(array[start : start + batch]) for name, array in feeds.items()}


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Where symbolic inference gives up, it leaves the whole model in the working folder: not in the person's."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        yield


@contextmanager
def _without_torch() -> Iterator[None]:
    """ONNX Runtime's tools import torch where there is one, three seconds, for a helper that is not used here."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises on the root logger to prepare the model, which was just done, and prints how it calibrates."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    ort.set_default_logger_severity(3)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
        ort.set_default_logger_severity(2)
