"""What a candidate may lose against its baseline. A limit that is None (`null`, `none`) is not checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from edgekd.errors import ConfigError
from edgekd.formats import upgraded
from edgekd.settings import Settings, read_yaml, validate


class Limits(Settings):
    schema_version: int = Field(alias="schema", default=1)
    latency_regression_percent: float | None = Field(default=3.0, ge=0)
    accuracy_drop_points: float | None = Field(default=0.5, ge=0)  # percent of the baseline's for mae and rmse
    size_growth_percent: float | None = Field(default=10.0, ge=0)
    memory_growth_percent: float | None = Field(default=10.0, ge=0)  # and 1 MiB at least
    coverage_drop_points: float | None = Field(default=0.0, ge=0)  # of the layers that run as integers
    latency_p50_ms: float | None = Field(default=None, gt=0)
    size_mib: float | None = Field(default=None, gt=0)
    peak_memory_mib: float | None = Field(default=None, gt=0)


def read_limits(path: Path) -> Limits:
    """From a YAML file of the person's."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    tree = read_yaml(text, str(path))
    return validate(Limits, upgraded("limits", tree, str(path)) if isinstance(tree, dict) else tree, str(path))
