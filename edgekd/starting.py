"""What `edgekd init` writes: a commented pipeline for a person's data and teacher."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.look import Seen, look
from edgekd.errors import ConfigError, first_line
from edgekd.pipeline import pipeline_of
from edgekd.settings import read_yaml

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL = 64  # pictures up to this size are taken as they are
LARGEST = 224


@dataclass(frozen=True)
class Wanted:
    """What a person says; None is looked up or guessed, and the file says which."""

    data: str
    teacher: str | None = None
    weights: str | None = None
    function: str | None = None
    target: str = "local-cpu"
    size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    max_accuracy_drop: float = 1.0


@dataclass(frozen=True)
class Reading:
    """How the pictures are to be read, and where that is from."""

    geometry: tuple[str, ...]  # lines of YAML
    side: int | None  # the longer one of what the model reads, where it is known
    mean: tuple[float, ...]
    std: tuple[float, ...]
    why: str


def drafted(wanted: Wanted, name: str) -> tuple[str, str]:
    """The YAML text, which was read back and validates, and what was guessed. Raises EdgekdError."""
    _check(wanted)
    seen = look(wanted.data, wanted.labels)
    reading = _reading(wanted, seen)
    if seen.source["source"] != "npz" and len(reading.mean) == 1:
        seen.source["channels"] = 1
    trains = wanted.teacher is None
    lines = [
        f"# {name}: written by `edgekd init`; every other setting has a default (edgekd pipelines show FILE --json).",
        "schema: 1",
        f"name: {name}",
        "task: image-classification",
        f"data: {_inline(seen.source)}",
        "preprocess:                  # stated once: training, export, measurement, run.py and the gate use it",
        *reading.geometry,
        f"  mean: {_list(reading.mean)}        # {reading.why}",
        f"  std: {_list(reading.std)}",
        "  inside: false              # true: the exported graph reads uint8 NHWC and normalises itself",
        "views:                       # what each training image may look like",
        _views(len(reading.mean)),
        "teacher:",
        *_teacher(wanted, seen),
        f"targets: [{_quoted(wanted.target)}]",
        "budget:",
        f"  accuracy_drop_points: {wanted.max_accuracy_drop:g}   # below the teacher",
        "  speedup_over_teacher: 2.0",
        "search:",
        # the stem of a large picture halves it, or students would be slow whatever they are
        f"  space: {{name: residual-cnn, stem_strides: {'[1, 2]' if (reading.side or 0) <= 48 else '[2]'}}}",
        "  candidates: 200",
        "  measure: 16                # of the best, on the device",
        "distill:",
        "  losses:",
        "    - {name: kd, temperature: 4.0, weight: 0.9}",
        "    - {name: cross-entropy, weight: 0.1}",
        "  epochs: 60",
        "  learning_rate: 0.1",
        "quantize: {first: ptq, then: qat, margin_points: 0.5}",
        "quick:                       # what --quick sets: minutes, to see that the chain runs",
        *(["  teacher.train.epochs: 2"] if trains else []),
        "  search.candidates: 24",
        "  search.measure: 3",
        "  distill.epochs: 2",
        "  budget.accuracy_drop_points: 50.0",
        "  budget.speedup_over_teacher: 1.0",
    ]
    text = "\n".join(lines) + "\n"
    pipeline_of(read_yaml(text, f"{name}.yaml"), f"{name}.yaml")
    return text, seen.told


def _check(wanted: Wanted) -> None:
    if len(wanted.mean) != len(wanted.std):
        raise ConfigError(f"--mean has {len(wanted.mean)} values and --std {len(wanted.std)}; give both, one a channel")
    is_code = Path(wanted.teacher or "").suffix == ".py"
    for flag, value in (("--weights", wanted.weights), ("--function", wanted.function)):
        if value is not None and not is_code:
            raise ConfigError(f"{flag} {value}: goes with a teacher that is a .py file; leave it out")


def _reading(wanted: Wanted, seen: Seen) -> Reading:
    known = _of_teacher(wanted.teacher)
    geometry, side = _geometry(wanted, known, seen)
    if wanted.mean:
        return Reading(geometry, side, wanted.mean, wanted.std, "of pixels / 255, as given")
    if known.get("image_mean") and known.get("image_std"):
        mean, std = tuple(known["image_mean"]), tuple(known["image_std"])
        return Reading(geometry, side, mean, std, "of the teacher's preprocessor_config.json")
    if wanted.teacher is not None and seen.channels != 1:
        return Reading(geometry, side, *IMAGENET, "ImageNet's: set what the teacher was trained with")
    if not seen.mean:
        return Reading(geometry, side, *IMAGENET, "ImageNet's, of pixels / 255; set it")
    note = "; set what the teacher was trained with" if wanted.teacher is not None else ""
    return Reading(geometry, side, seen.mean, seen.std, f"of these pictures / 255{note}")


def _geometry(wanted: Wanted, known: dict[str, Any], seen: Seen) -> tuple[tuple[str, ...], int | None]:
    if wanted.size:
        return (f"  resize: {wanted.size}", f"  crop: [{wanted.size}, {wanted.size}]"), wanted.size
    if found := _of_processor(known):
        return found
    if not seen.sizes:
        return (
            "  resize: 64                 # of the shorter side: what the model reads; set it",
            "  crop: [64, 64]",
        ), 64
    (height, width), _ = seen.sizes.most_common(1)[0]
    if len(seen.sizes) == 1 and max(height, width) <= SMALL:
        return (f"  # pictures are read as they are, {height} x {width}",), max(height, width)
    shorter = int(np.median([min(size) for size in seen.sizes.elements()]))
    side = shorter if shorter <= 32 else min(LARGEST, max(32, 32 * round(shorter / 32)))
    told = f"# of the shorter side; {len(seen.sizes)} sizes were seen, most often {height} x {width}"
    return (f"  resize: {side}                 {told}", f"  crop: [{side}, {side}]"), side


def _of_teacher(teacher: str | None) -> dict[str, Any]:
    """What a folder of transformers says of its preprocessing."""
    path = Path(teacher) / "preprocessor_config.json" if teacher else None
    if path is None or not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not JSON: {first_line(error)}") from error
    return told if isinstance(told, dict) else {}


def _of_processor(known: dict[str, Any]) -> tuple[tuple[str, ...], int] | None:
    """Resize and crop as image processors of transformers do them."""
    size = known.get("size")
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if not isinstance(size, dict):
        return None
    if "height" in size and "width" in size:
        return (f"  resize: [{size['height']}, {size['width']}]",), max(size["height"], size["width"])
    edge, crop = size.get("shortest_edge"), known.get("crop_size")
    if not edge:
        return None
    if isinstance(crop, dict):
        crop = crop.get("height")
    if known.get("crop_pct") and not crop:
        edge, crop = int(edge / known["crop_pct"]), edge
    crop = crop or edge
    return (f"  resize: {edge}", f"  crop: [{crop}, {crop}]"), int(crop)


def _teacher(wanted: Wanted, seen: Seen) -> list[str]:
    if wanted.teacher is None:
        return [
            "  # trained here; or `from:` a folder of transformers, an .onnx, or a .py with `function` and `weights`",
            "  shape: {stem_width: 32, stem_stride: 1, widths: [[64, 64], [64, 64], [128, 128], [128, 128]], "
            "strides: [1, 1, 2, 1]}",
            "  train: {epochs: 40, learning_rate: 0.1}",
        ]
    lines = [f"  from: {_quoted(wanted.teacher)}"]
    if Path(wanted.teacher).suffix == ".py":
        lines += [f"  function: {_quoted(wanted.function or 'model')}          # makes the module, without arguments"]
        lines += [f"  weights: {_quoted(wanted.weights)}"] if wanted.weights else []
    if wanted.labels and seen.source["source"] not in ("npz", "table"):
        lines.append(f"  labels: {_list(wanted.labels)}")
    elif Path(wanted.teacher).suffix in (".py", ".onnx"):
        lines.append("  # labels: [...]            # its classes in the order of its answers, if not the data's")
    return lines


def _views(channels: int) -> str:
    colours = ", flip: true, brightness: 0.2, contrast: 0.2, saturation: 0.2" if channels == 3 else ""
    return f"  {{rotate_degrees: 10.0, scale: 0.1, shift: 0.1{colours}}}"


def _inline(tree: dict[str, Any]) -> str:
    told = {key: _list(value) if isinstance(value, list) else _quoted(value) for key, value in tree.items()}
    return "{" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}"


def _list(values: Any) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"


def _quoted(value: Any) -> str:
    """A YAML scalar: text in double quotes, as JSON has it; what YAML takes for a line's end or refuses is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found.group()):04x}", text)
