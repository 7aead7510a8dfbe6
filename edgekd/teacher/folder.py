"""What can be read of a teacher's folder without loading it."""

from __future__ import annotations

import json
from pathlib import Path

from edgekd.engine.digest import digest_file, digest_of
from edgekd.errors import ConfigError
from edgekd.models.shape import MODEL_TYPE, NetShape
from edgekd.settings import validate

FILES = ("config.json", "model.safetensors")


def inspect(folder: Path) -> tuple[str, NetShape]:
    """The digest of its files and the net's shape."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ConfigError(f"teacher.from: {folder} has no {name}; give a folder with {' and '.join(FILES)}")
    where = f"{folder / 'config.json'}"
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("model_type") != MODEL_TYPE:
        kind = config.get("model_type") if isinstance(config, dict) else config
        raise ConfigError(f"{where}: model_type {kind!r}: teachers of type {MODEL_TYPE} are the ones that load so far")
    shape = validate(NetShape, {key: config[key] for key in NetShape.model_fields if key in config}, where)
    return digest_of([digest_file(folder / name) for name in FILES]), shape
