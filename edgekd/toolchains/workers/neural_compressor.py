"""
Static QDQ by onnx-neural-compressor, in its own environment.

`python neural_compressor.py JSON ANSWER`: `model` and `out` are ONNX files, `feeds` an .npz of arrays [N, ...] by
input, `calibration` is MinMax, Entropy or Percentile.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx_neural_compressor import data_reader
from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, quantize
from onnx_neural_compressor.quantization.config import StaticQuantConfig


class Samples(data_reader.CalibrationDataReader):  # type: ignore[misc]
    """One sample at a time, and once more from the first, which it asks for."""

    def __init__(self, feeds):
        self.feeds = feeds
        self.rewind()

    def get_next(self):
        return next(self.rows, None)

    def rewind(self):
        count = len(next(iter(self.feeds.values())))
        self.rows = ({name: x[i : i + 1] for name, x in self.feeds.items()} for i in range(count))


def main(asked):
    with np.load(asked["feeds"], allow_pickle=False) as archive:
        feeds = dict(archive)
    config = StaticQuantConfig(
        calibration_data_reader=Samples(feeds),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod[asked["calibration"]],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=asked["reduced_range"],
        calibration_sampling_size=len(next(iter(feeds.values()))),
    )
    quantize(asked["model"], "quantised.onnx", config)  # with its weights in a file beside it
    made = onnx.load("quantised.onnx")
    onnx.save(made, asked["out"])
    kinds = [node.op_type for node in made.graph.node]
    return {"quantisers": kinds.count("QuantizeLinear"), "dequantisers": kinds.count("DequantizeLinear")}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(sys.argv[1]))), "utf-8")
