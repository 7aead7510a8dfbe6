"""What `edgekd init` writes: a commented pipeline for a person's data and teacher."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.arrays import headers, read_archive
from edgekd.data.folder import SUFFIXES
from edgekd.data.listing import SPLITS
from edgekd.errors import ConfigError, DataError
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.settings import read_yaml

LOOKED_AT = 200  # pictures whose sizes and colours are read
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


@dataclass
class Seen:
    """What a look at the data shows."""

    source: dict[str, Any]
    channels: int = 3
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    count: int = 0  # pictures of one class, about


def drafted(wanted: Wanted, name: str) -> str:
    """The YAML text, which was read back and validates. Raises EdgekdError."""
    seen = looked_at(wanted)
    geometry = _geometry(wanted, seen)
    mean, std, why = _normalisation(wanted, seen)
    lines = [
        f"# {name}: written by `edgekd init`; every other setting has a default (edgekd pipelines show FILE --json).",
        f"#   edgekd data inspect {name}.yaml   edgekd plan {name}.yaml   edgekd build {name}.yaml{_flag(wanted)}",
        "schema: 1",
        f"name: {name}",
        "task: image-classification",
        f"data: {_inline(seen.source)}",
        "preprocess:                  # stated once: training, export, measurement, run.py and the gate use it",
        *geometry,
        f"  mean: {_list(mean)}        # {why}",
        f"  std: {_list(std)}",
        "  inside: false              # true: the exported graph reads uint8 NHWC and normalises itself",
        "views:                       # what each training image may look like",
        *_views(seen),
        "teacher:",
        *_teacher(wanted, seen),
        f"targets: [{wanted.target}]",
        "budget:",
        f"  accuracy_drop_points: {wanted.max_accuracy_drop:g}   # below the teacher",
        "  speedup_over_teacher: 2.0",
        "search:",
        f"  space: {{name: residual-cnn, stem_strides: {_strides(geometry, seen)}}}",
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
        *(["  teacher.train.epochs: 2"] if wanted.teacher is None else []),
        "  search.candidates: 24",
        "  search.measure: 3",
        "  distill.epochs: 2",
        "  budget.accuracy_drop_points: 50.0",
        "  budget.speedup_over_teacher: 1.0",
    ]
    text = "\n".join(lines) + "\n"
    checked(text, f"{name}.yaml")
    return text


def checked(text: str, where: str) -> Pipeline:
    return pipeline_of(read_yaml(text, where), where)


def looked_at(wanted: Wanted) -> Seen:
    path = Path(wanted.data)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".npz":
        return _archive(path, wanted.labels)
    if path.suffix in (".csv", ".parquet"):
        return _table(path)
    if path.suffix == ".py":
        return Seen({"source": "code", "path": str(path)})
    if not path.exists() and wanted.data.count("/") == 1:
        return Seen({"source": "huggingface", "path": wanted.data})
    raise ConfigError(f"--data {wanted.data}: a folder of pictures, .npz, .csv, .parquet, .py or a hub name is needed")


def _folder(path: Path) -> Seen:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return Seen({"source": "huggingface", "path": str(path)})
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"--data {path}: no pictures in it; put them into {path}/<class>/")
    seen = Seen({"source": "folder", "path": str(path)})
    step = max(1, len(files) // LOOKED_AT)
    _look(seen, files[::step])
    classes = {file.relative_to(path).parts[:-1] for file in files}
    seen.count = len(files) // max(1, len(classes))
    given = {parts[0].lower() for parts in classes if parts} & set(SPLITS)
    if not given:
        seen.source |= {"val_share": 0.15, "test_share": 0.15}
    if seen.channels == 1:
        seen.source["channels"] = 1
    return seen


def _table(path: Path) -> Seen:
    columns = _header(path)
    found = {
        key: next((name for name in columns if name.lower() in words), None)
        for key, words in (
            ("image", ("image", "path", "file", "filename", "file_name", "img", "filepath")),
            ("label", ("label", "class", "target", "category", "y")),
            ("split", ("split", "subset", "fold")),
        )
    }
    for key in ("image", "label"):
        if found[key] is None:
            raise DataError(f"--data {path}: which of {', '.join(columns)} is the {key}? Call it {key!r}")
    seen = Seen({"source": "table", "path": str(path), **{key: name for key, name in found.items() if name}})
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = [row[found["image"]] for row in islice(csv.DictReader(file), LOOKED_AT)]
        _look(seen, [path.parent / name for name in names])
    return seen


def _header(path: Path) -> list[str]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _archive(path: Path, labels: tuple[str, ...]) -> Seen:
    held = headers(path)
    if missing := [name for name in ("images", "labels") if name not in held]:
        raise DataError(f"--data {path}: has no array {missing[0]!r}, only {', '.join(held)}")
    arrays = read_archive(path)
    images, numbers = arrays["images"], arrays["labels"]
    classes = int(numbers.max()) + 1
    count = int(np.bincount(numbers).min())
    names = labels or tuple(str(number) for number in range(classes))
    share = max(1, round(0.15 * count))
    seen = Seen({
        "source": "npz", "path": str(path), "labels": list(names), "val_per_class": share, "test_per_class": share,
    })  # fmt: skip
    some = images[:LOOKED_AT].astype(np.float64) / 255
    some = some[..., None] if some.ndim == 3 else some
    seen.channels, seen.count = some.shape[-1], count
    seen.sizes[(int(some.shape[1]), int(some.shape[2]))] = len(images)
    seen.mean, seen.std = _colours(some.reshape(-1, seen.channels))
    return seen


def _look(seen: Seen, files: list[Path]) -> None:
    """Sizes and colours of some pictures; what cannot be read is for `data inspect` to tell."""
    from PIL import Image, ImageOps

    colours, gray = [], True
    for file in files[:LOOKED_AT]:
        try:
            with Image.open(file) as picture:
                upright = ImageOps.exif_transpose(picture)
                seen.sizes[(upright.height, upright.width)] += 1
                gray = gray and upright.mode in ("1", "L", "LA", "I;16")
                colours.append(np.asarray(upright.convert("RGB").resize((16, 16))).reshape(-1, 3) / 255)
        except (OSError, SyntaxError, ValueError):
            continue
    if not colours:
        raise DataError(f"{files[0].parent}: none of the first {len(files[:LOOKED_AT])} pictures can be read")
    seen.channels = 1 if gray else 3
    seen.mean, seen.std = _colours(np.concatenate(colours)[:, : seen.channels])


def _colours(values: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = values.mean(0), values.std(0)
    return tuple(float(round(m, 3)) for m in mean), tuple(float(round(max(s, 0.05), 3)) for s in std)


def _geometry(wanted: Wanted, seen: Seen) -> list[str]:
    known = _of_teacher(wanted.teacher)
    if wanted.size or known.get("size"):
        side = wanted.size or known["size"]
        return [f"  resize: {side}", f"  crop: [{side}, {side}]"]
    if not seen.sizes:
        return ["  resize: 64                 # of the shorter side: what the model reads; set it", "  crop: [64, 64]"]
    (height, width), _ = seen.sizes.most_common(1)[0]
    if len(seen.sizes) == 1 and max(height, width) <= SMALL:
        return [f"  # pictures are read as they are, {height} x {width}"]
    shorter = int(np.median([min(size) for size in seen.sizes.elements()]))
    side = shorter if shorter <= 32 else min(LARGEST, max(32, 32 * round(shorter / 32)))
    told = f"# of the shorter side; {len(seen.sizes)} sizes were seen, most often {height} x {width}"
    return [f"  resize: {side}                 {told}", f"  crop: [{side}, {side}]"]


def _normalisation(wanted: Wanted, seen: Seen) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    known = _of_teacher(wanted.teacher)
    if wanted.mean and wanted.std:
        return wanted.mean, wanted.std, "of pixels / 255, as given"
    if known.get("mean"):
        return tuple(known["mean"]), tuple(known["std"]), "of the teacher's preprocessor_config.json"
    if wanted.teacher is not None and seen.channels == 3:
        return *IMAGENET, "ImageNet's: set what the teacher was trained with"
    default = ((0.5,) * seen.channels, (0.25,) * seen.channels)
    mean, std = (seen.mean, seen.std) if seen.mean else default
    note = "; set what the teacher was trained with" if wanted.teacher is not None else ""
    return mean, std, ("of these pictures / 255" if seen.mean else "of pixels / 255; set it") + note


def _of_teacher(teacher: str | None) -> dict[str, Any]:
    """Size, mean and deviation that a folder of transformers names."""
    path = Path(teacher) / "preprocessor_config.json" if teacher else None
    if path is None or not path.is_file():
        return {}
    told = json.loads(path.read_text("utf-8"))
    size = told.get("size", {})
    side = size if isinstance(size, int) else size.get("height") or size.get("shortest_edge")
    return {"size": side, "mean": told.get("image_mean"), "std": told.get("image_std")}


def _teacher(wanted: Wanted, seen: Seen) -> list[str]:
    if wanted.teacher is None:
        return [
            "  # trained here; or `from:` a folder of transformers, an .onnx, or a .py with `function` and `weights`",
            "  shape: {stem_width: 32, stem_stride: 1, widths: [[64, 64], [64, 64], [128, 128], [128, 128]], "
            "strides: [1, 1, 2, 1]}",
            "  train: {epochs: 40, learning_rate: 0.1}",
        ]
    lines = [f"  from: {_quoted(wanted.teacher)}"]
    if wanted.teacher.endswith(".py"):
        lines += [f"  function: {wanted.function or 'model'}            # makes the module, without arguments"]
        lines += [f"  weights: {_quoted(wanted.weights)}"] if wanted.weights else []
    if wanted.labels and seen.source["source"] != "npz":
        lines.append(f"  labels: {_list(wanted.labels)}")
    elif wanted.teacher.endswith((".py", ".onnx")):
        lines.append("  # labels: [...]            # its classes in the order of its answers, if not the data's")
    return lines


def _views(seen: Seen) -> list[str]:
    if seen.channels == 1:
        return ["  {rotate_degrees: 10.0, scale: 0.1, shift: 0.08}"]
    return [
        "  {rotate_degrees: 10.0, scale: 0.1, shift: 0.1, flip: true, brightness: 0.2, contrast: 0.2, saturation: 0.2}"
    ]


def _strides(geometry: list[str], seen: Seen) -> str:
    """The stem of a large picture halves it, or students would be slow whatever they are."""
    sides = [max(size) for size in seen.sizes]
    given = [int(line.split("[")[1].split(",")[0]) for line in geometry if "crop" in line]
    side = (given or sides or [64])[0]
    return "[1, 2]" if side <= 48 else "[2]"


def _flag(wanted: Wanted) -> str:
    return " --allow-code" if wanted.data.endswith(".py") or (wanted.teacher or "").endswith(".py") else ""


def _inline(tree: dict[str, Any]) -> str:
    told = {key: _list(value) if isinstance(value, list) else _quoted(value) for key, value in tree.items()}
    return "{" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}"


def _list(values: Any) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"


def _quoted(value: Any) -> str:
    """A YAML scalar: text in double quotes, as JSON has it."""
    return json.dumps(value, ensure_ascii=False)
