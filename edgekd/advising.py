"""What zeros would gain on a device: measured on the model itself, before anybody trains for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.deploy.given import load
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError
from edgekd.hardware.inputs import Shapes
from edgekd.hardware.profile import load_profile
from edgekd.hardware.where import where_of
from edgekd.prune.zeros import looked
from edgekd.sparse.plans import Sparsity

PLANS = (Sparsity(nm="2:4"), Sparsity(unstructured=0.75), Sparsity(unstructured=0.9))


def advise(
    model: str | Path,
    target: str = "local-cpu",
    *,
    plans: Sequence[Sparsity] = PLANS,
    shapes: Shapes | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """
    A float ONNX model with the smallest of its weights zero, in every runtime of the target, as float and int8, beside
    itself: how many times as fast, with an interval, and what each file weighs compressed and packed. Its answers are
    not looked at: what training makes of such zeros nobody knows before. Raises EdgekdError.
    """
    path = Path(model)
    if path.suffix != ".onnx":
        raise ConfigError(f"{path}: edgekd sparsity takes ONNX files; export the model to ONNX first")
    profile, progress = load_profile(target), Progress(listener or Silent())
    return looked(path, load(path), profile, where_of(profile, None), plans, shapes or {}, progress)
