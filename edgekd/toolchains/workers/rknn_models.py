"""
Rockchip's RKNN-Toolkit2 in its own environment: a QDQ graph compiled with its own scales, and its simulator.

`python rknn_models.py JSON ANSWER`: `model` is an ONNX file of one image input, `platform` the chip; `compile_to` is
where the .rknn goes, or none; `feeds` (.npz) are arrays [N, C, H, W] that the simulator answers into `answers` (.npz),
or none. The toolkit simulates what it has just built, and no file.
"""

import json
import sys
from pathlib import Path

import numpy as np
from rknn.api import RKNN


def main(asked):
    toolkit = RKNN(verbose=False)
    toolkit.config(target_platform=asked["platform"])
    done(toolkit.load_onnx(asked["model"]), "load_onnx")
    done(toolkit.build(do_quantization=False), "build")  # the graph says its scales
    if asked.get("compile_to"):
        done(toolkit.export_rknn(asked["compile_to"]), "export_rknn")
    if asked.get("feeds"):
        done(toolkit.init_runtime(), "init_runtime")
        with np.load(asked["feeds"], allow_pickle=False) as archive:
            (x,) = (archive[name] for name in archive.files)
        rows = [toolkit.inference([one[None]], data_format=["nchw"])[0] for one in x]
        np.savez(asked["answers"], answers=np.concatenate(rows))
    toolkit.release()
    return {}


def done(code, what):
    if code != 0:
        raise SystemExit(f"RKNN-Toolkit2: {what} ended with {code}")


if __name__ == "__main__":
    answer = main(json.loads(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(answer), "utf-8")
