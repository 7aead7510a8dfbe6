"""
Hugging Face Optimum with ONNX Runtime, in its own environment.

`python optimum_models.py JSON ANSWER`: `do` is
  answers   what `auto` (ORTModelFor...) answers from `folder`/`file`, to the arrays of `feeds` (.npz), into `answers`
  export    the transformers model of `folder` as ONNX into `out`, by Optimum's own exporter
  quantise  `folder`/`file` as static or dynamic int8 into `out`, by ORTQuantizer, on the arrays of `feeds`
"""

import json
import sys
from pathlib import Path

import numpy as np
import optimum.onnxruntime as ort
import torch
from transformers import PretrainedConfig


def answers(asked):
    kind = getattr(ort, asked["auto"])
    config = PretrainedConfig.from_pretrained(asked["folder"])  # of no class that transformers has
    model = kind.from_pretrained(asked["folder"], config=config, file_name=asked["file"])
    with np.load(asked["feeds"], allow_pickle=False) as archive:
        given = {name: torch.from_numpy(archive[name]) for name in archive.files}
    np.savez(asked["answers"], logits=model(**given).logits.numpy())
    return {"class": type(model).__name__, "labels": len(config.id2label)}


def export(asked):
    from optimum.exporters.onnx import main_export

    main_export(asked["folder"], output=asked["out"], task=asked["task"], do_validation=False)
    return {"files": sorted(path.name for path in Path(asked["out"]).glob("*.onnx"))}


def quantise(asked):
    from datasets import Dataset
    from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig

    quantizer = ort.ORTQuantizer.from_pretrained(asked["folder"], file_name=asked["file"])
    static = asked["static"]
    how = AutoQuantizationConfig.avx512_vnni(is_static=static, per_channel=True)
    ranges = None
    if static:
        with np.load(asked["feeds"], allow_pickle=False) as archive:
            samples = Dataset.from_dict({name: list(archive[name]) for name in archive.files})
        ranges = quantizer.fit(
            dataset=samples,
            calibration_config=AutoCalibrationConfig.minmax(samples),
            operators_to_quantize=how.operators_to_quantize,
        )
    quantizer.quantize(save_dir=asked["out"], quantization_config=how, calibration_tensors_range=ranges)
    return {"files": sorted(path.name for path in Path(asked["out"]).glob("*.onnx"))}


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    told = {"answers": answers, "export": export, "quantise": quantise}[request["do"]](request)
    Path(sys.argv[2]).write_text(json.dumps(told), "utf-8")
