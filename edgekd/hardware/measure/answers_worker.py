"""What a model answers to the arrays of a file: run where the model is to run, so that its kernels decide."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.arrays import read_arrays
from edgekd.hardware.answering import Feeds
from edgekd.hardware.measure.process import serve
from edgekd.hardware.runtime import open_session
from edgekd.hardware.specs import read_runnable


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """The first output for those samples of `data` that are asked for, its bytes in base64 with dtype and shape."""
    model = request["model"]
    path = Path(model["path"])
    session = open_session(path, read_runnable(model["runtime"]))
    first, last = request["samples"]
    arrays = read_arrays(Path(model["data"]), session.describe().inputs[0].name)
    lengths = None if request["lengths"] is None else tuple(request["lengths"])
    feeds = Feeds({name: array[first:last] for name, array in arrays.items()}, request["batch"], lengths)
    found = np.ascontiguousarray(feeds.answered(path.name, session))
    session.close()
    return {"dtype": found.dtype.name, "shape": found.shape, "data": base64.b64encode(found.tobytes()).decode("ascii")}


if __name__ == "__main__":
    serve(measure)
