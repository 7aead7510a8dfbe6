"""What exporters for devices elsewhere share: whose runtime it is, and whether the compiler is there."""

from __future__ import annotations

from importlib.util import find_spec

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec


def own(exporter: str, name: str, runtime: RuntimeSpec) -> CompilerSpec:
    """The runtime, where it is the one that the exporter writes for. Raises ConfigError for any other."""
    if not isinstance(runtime, CompilerSpec) or runtime.name != name:
        raise ConfigError(f"exporter {exporter}: writes files for {name}, not for {runtime.name}")
    return runtime


def check_installed(exporter: str, module: str, extra: str | None = None) -> None:
    """Raises UnavailableError with what installs the compiler; it is not imported."""
    if find_spec(module) is None:
        raise UnavailableError(
            f"exporter {exporter!r} needs {module!r}, which is not installed; pip install 'edgekd[{extra or exporter}]'"
        )
