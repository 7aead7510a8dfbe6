"""What can be read of a teacher that is given, without running it: its kind, its classes, its digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekd.engine.digest import digest_files
from edgekd.errors import ConfigError, EdgekdError, UnavailableError
from edgekd.hardware.parts import parts_of
from edgekd.models.shape import MODEL_TYPE, NetShape
from edgekd.settings import validate
from edgekd.teacher.stages import Given

CONFIG = "config.json"
TENSORS = (".safetensors", ".pt", ".pth", ".bin")


def inspect(where: str, weights: str | None, function: str, labels: tuple[str, ...], revision: str | None) -> Given:
    """A folder of transformers or its name on the hub, a .py with weights, or an .onnx. Raises ConfigError."""
    path = Path(where)
    common: dict[str, Any] = {"path": where, "labels": labels}
    if path.suffix == ".onnx":
        if weights is not None:
            raise ConfigError("teacher.weights: an ONNX file has its own; leave them out")
        try:
            parts = {part.name: part for part in parts_of(_file(path))}  # its external data too
        except EdgekdError:
            raise
        except Exception as error:
            raise ConfigError(f"teacher.from: {path}: not an ONNX model that can be read") from error
        return Given(kind="onnx", digest=digest_files(parts), **common)
    if path.suffix == ".py":
        files = {path.name: _file(path)}
        if weights is not None:
            if Path(weights).suffix not in TENSORS:
                raise ConfigError(f"teacher.weights: {weights}: .safetensors, or .pt with tensors alone, are read")
            files["weights"] = _file(Path(weights), "teacher.weights")
        return Given(kind="module", weights=weights, function=function, digest=digest_files(files), **common)
    if weights is not None:
        raise ConfigError("teacher.weights: go with a .py that makes the module; a folder has its own")
    return _of_folder(resolved(where, revision), common | {"revision": revision})


def resolved(where: str, revision: str | None) -> Path:
    """The folder itself, or the hub's snapshot of that name. Raises ConfigError and UnavailableError."""
    if Path(where).is_dir():
        return Path(where)
    if where.count("/") != 1 or where.startswith((".", "/", "~")):
        raise ConfigError(f"teacher.from: {where}: no such folder; a folder of transformers, .onnx, .py or a hub name")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(where, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:
        raise UnavailableError(
            f"teacher.from: {where} is no folder here and no model of the Hugging Face hub that was fetched before; "
            f"HF_HUB_OFFLINE=0 lets edgekd fetch it ({type(error).__name__})"
        ) from error


def _of_folder(folder: Path, common: dict[str, Any]) -> Given:
    files = files_of(folder)
    if CONFIG not in files or not any(path.suffix in TENSORS for path in files.values()):
        lacking = CONFIG if CONFIG not in files else "weights (model.safetensors)"
        raise ConfigError(f"teacher.from: {folder} has no {lacking}; give a folder that save_pretrained wrote")
    where = str(folder / CONFIG)
    try:
        config = json.loads(files[CONFIG].read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ConfigError(f"{where}: names no model_type; give a folder that save_pretrained wrote")
    shape = None
    if config["model_type"] == MODEL_TYPE:
        shape = validate(NetShape, {key: config[key] for key in NetShape.model_fields if key in config}, where)
    names = config.get("id2label") or {}
    if not common["labels"] and all(str(number) in names for number in range(len(names))):
        common["labels"] = tuple(str(names[str(number)]) for number in range(len(names)))
    return Given(kind="transformers", digest=digest_files(files), shape=shape, **common)


def files_of(folder: Path) -> dict[str, Path]:
    """What a model is made of, without what a trainer left beside it: optimiser, arguments."""
    kept = (*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin"))
    return {path.name: path for path in sorted(kept)}


def _file(path: Path, setting: str = "teacher.from") -> Path:
    if not path.is_file():
        raise ConfigError(f"{setting}: {path}: no such file")
    return path
