"""
Compile for the Hexagon HTP, or run a compiled file in its simulator; in a process of its own.

A provider's library stays registered in a process for good, and what crashes in it takes the process along.
`python -m edgekd.exporters.qnn_worker JSON`: `model`, `options`, and either `compile_to`, or `feeds` and `answers`,
safetensors files of arrays [N, ...] by input, and of `answers` [N, ...].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import onnxruntime_qnn
from safetensors.numpy import load_file, save_file

ERRORS = 3  # ONNX Runtime's severity


def main(asked: Mapping[str, Any]) -> None:
    ort.register_execution_provider_library("QNN", onnxruntime_qnn.get_library_path())
    opened = session(Path(asked["model"]), asked["options"], asked.get("compile_to"))
    if "feeds" in asked:
        feeds = load_file(asked["feeds"])
        save_file({"answers": answers(opened, feeds)}, asked["answers"])


def session(model: Path, options: Mapping[str, str], compile_to: str | None) -> Any:
    """Whole on the HTP or not at all."""
    settings = ort.SessionOptions()
    settings.log_severity_level = ERRORS
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if compile_to is not None:
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_file_path", compile_to)
        settings.add_session_config_entry("ep.context_embed_mode", "1")
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "QNN"]
    settings.add_provider_for_devices(devices, {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **options})
    return ort.InferenceSession(str(model), settings)


def answers(opened: Any, feeds: Mapping[str, Any]) -> Any:
    """The first output [N, ...], one sample at a time."""
    samples = len(next(iter(feeds.values())))
    rows = [opened.run(None, {name: x[i : i + 1] for name, x in feeds.items()})[0] for i in range(samples)]
    return np.concatenate(rows)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
