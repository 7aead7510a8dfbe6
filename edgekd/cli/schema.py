"""`edgekd schema`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from edgekd.cli.console import print_json

NAMES = (
    "pipeline", "sentence-embedding", "text-classification", "device", "lock", "signature", "limits", "check",
    "measurement", "devices",
)  # fmt: skip  # a pipeline is of images; those of text are named by their task


def schema(
    name: Annotated[str, typer.Argument(help=f"Which format: {', '.join(NAMES)}.")] = "pipeline",
) -> None:
    """
    Print the JSON Schema of a file format, for editors and other tools.

    Example:
      edgekd schema pipeline > pipeline.schema.json
    """
    if name not in NAMES:
        close = get_close_matches(name, NAMES, n=1)
        raise typer.BadParameter(f"{name!r}: {f'did you mean {close[0]!r}?' if close else f'one of {NAMES}'}")
    from edgekd.data.signature import Signature
    from edgekd.engine.lock import Lock
    from edgekd.gate.limits import Limits
    from edgekd.gate.result import GateResult
    from edgekd.hardware.measure.result import Measured
    from edgekd.hardware.profile import DeviceProfile
    from edgekd.hardware.remote.farm import Farm
    from edgekd.pipeline import Pipeline
    from edgekd.settings import Settings
    from edgekd.text.plans import TASKS

    models: dict[str, type[Settings]] = {
        "pipeline": Pipeline,
        **TASKS,
        "device": DeviceProfile,
        "lock": Lock,
        "signature": Signature,
        "limits": Limits,
        "check": GateResult,
        "measurement": Measured,
        "devices": Farm,
    }
    described = models[name].model_json_schema(by_alias=True)
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **described})
