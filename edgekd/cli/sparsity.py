"""`edgekd sparsity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import ShapeOption, Target, parse_shapes


def sparsity(
    model: Annotated[Path, typer.Argument(help="An ONNX file, in float.")],
    target: Target = "local-cpu",
    plan: Annotated[
        list[str] | None, typer.Option(help="2:4, or a share of zeros as 0.75; may be given again. [2:4, 0.75, 0.9]")
    ] = None,
    shape: ShapeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON on stdout.")] = False,
) -> None:
    """
    Say what zeros in a MODEL's weights would gain on a device, before anything is trained for them.

    The smallest weights are set to zero; float and int8 files are written for every runtime of the device and measured
    beside the model as it is. Whether its answers survive that is a matter of training, and not looked at.

    Examples:
      edgekd sparsity resnet20.onnx

      edgekd sparsity bert.onnx --plan 2:4 --shape input_ids=1,64 --shape attention_mask=1,64 --json
    """
    from edgekd.advising import PLANS, advise
    from edgekd.cli.progress import Watcher
    from edgekd.errors import ConfigError
    from edgekd.settings import validate
    from edgekd.sparse.plans import Sparsity

    def read(text: str) -> Sparsity:
        if ":" in text:
            return validate(Sparsity, {"nm": text}, f"--plan {text}")
        try:
            share = float(text)
        except ValueError:
            raise ConfigError(f"--plan {text}: neither 2:4 nor a share of zeros, as 0.75") from None
        return validate(Sparsity, {"unstructured": share}, f"--plan {text}")

    plans = tuple(read(text) for text in plan) if plan else PLANS
    with Watcher() as watcher:
        watcher.started("measure", model.name)
        told = advise(model, target, plans=plans, shapes=parse_shapes(shape), listener=watcher)
    if as_json:
        print_json(told)
        return
    _show(told)


def _show(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("zeros", "file", "p50 ms", "times faster", "kB", "kB compressed", "kB packed",
                  title=f"{told['model']} on {told['target']}")  # fmt: skip
    for row in told["rows"]:
        faster = row["times_faster"]
        table.add_row(
            row["plan"], row["kind"], f"{row['latency_p50_ms'][0]:.3f}",
            "1" if faster is None else f"{faster[0]:.2f} [{faster[1]:.2f}, {faster[2]:.2f}]",
            f"{row['size_bytes'] / 1e3:.0f}", f"{row['compressed_bytes'] / 1e3:.0f}",
            "" if row["packed_bytes"] is None else f"{row['packed_bytes'] / 1e3:.0f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for sentence in told["says"]:
        console.print(sentence, markup=False, soft_wrap=True)
    for name, why in told["not_written"].items():
        console.print(f"{name} could not be written: {why}", markup=False, soft_wrap=True)
    for reason in told["noise"]["reasons"]:
        console.print(f"Too noisy to rely on these latencies: {reason}.", markup=False)
