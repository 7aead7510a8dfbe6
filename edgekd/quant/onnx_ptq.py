"""int8 of an ONNX graph that comes without torch: ONNX Runtime's own quantiser, told the dialect of the runtime."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekd.errors import ConfigError
from edgekd.hardware.dialect import Activation, Dialect

Array = NDArray[Any]
Calibration = Literal["min-max", "percentile", "entropy"]
METHODS: dict[Calibration, CalibrationMethod] = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
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
    batch: int = 32,
) -> None:
    """
    Write `out`: the graph of `model` with QDQ nodes, its ranges those that `feeds` [N, ...] by input make.

    Weights are int8, symmetric, one scale an output channel; activations as the dialect says. Batch norms are folded
    and shapes inferred first: without that the quantiser leaves most convolutions in float, and says nothing.
    """
    kind, symmetric = TYPES[dialect.activation]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        prepare(model, prepared)
        quantize_static(
            str(prepared),
            str(out),
            _Reader(feeds, batch),
            quant_format=QuantFormat.QDQ,
            activation_type=kind,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=dialect.reduced_range,
            calibrate_method=METHODS[method],
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not symmetric,  # TensorRT wants biases in float
            },
        )


def prepare(model: Path, out: Path) -> None:
    """Fold batch norms and infer shapes; symbolic inference is left out where it gives up, as on most transformers."""
    for skip in (False, True):
        try:
            quant_pre_process(str(model), str(out), skip_symbolic_shape=skip)
            return
        except Exception as error:
            if skip:
                raise ConfigError(f"{model}: cannot be prepared for quantisation: {error}") from error


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out the samples in batches, once."""

    def __init__(self, feeds: Mapping[str, Array], batch: int) -> None:
        self._batches = self._cut(feeds, batch)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(feeds: Mapping[str, Array], batch: int) -> Iterator[dict[str, Array]]:
        size = len(next(iter(feeds.values())))
        for start in range(0, size, batch):
            yield {name: np.ascontiguousarray(array[start : start + batch]) for name, array in feeds.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises on the root logger to prepare the model, which was just done, and prints how it calibrates."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
