"""
TensorFlow Lite Micro in a process of its own, since what it cannot do it says on stderr or ends the process.

`python -m edgekd.exporters.tflite_micro_worker JSON`: `model`, and either a `folder` with feeds.safetensors (int8
arrays [N, ...] by the input's number), where answers.safetensors is left; or none: the least arena is printed as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tflite_micro.python.tflite_micro import runtime

LARGEST = 64 * 2**20  # bytes of arena; no microcontroller has more
STEP = 16  # arenas are aligned to it


def main(asked: Mapping[str, Any]) -> None:
    file = Path(asked["model"]).read_bytes()
    if "folder" in asked:
        answer(file, Path(asked["folder"]))
        sys.stdout.write("{}")
    else:
        sys.stdout.write(json.dumps({"arena_bytes": least_arena(file)}))


def answer(file: bytes, folder: Path) -> None:
    feeds = load_file(folder / "feeds.safetensors")
    interpreter = runtime.Interpreter.from_bytes(file, arena_size=LARGEST)
    rows = []
    for sample in range(len(feeds["0"])):
        for number in range(len(feeds)):
            interpreter.set_input(feeds[str(number)][sample : sample + 1], number)
        interpreter.invoke()
        rows.append(interpreter.get_output(0))
    save_file({"answers": np.concatenate(rows)}, folder / "answers.safetensors")


def least_arena(file: bytes) -> int:
    """By halving: the smallest multiple of 16 bytes in which the model's tensors can be laid out."""
    low, high = 0, LARGEST // STEP
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _goes(file, STEP * middle) else (middle, high)
    return STEP * high


def _goes(file: bytes, arena: int) -> bool:
    try:
        runtime.Interpreter.from_bytes(file, arena_size=arena)
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
