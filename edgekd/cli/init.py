"""`edgekd init`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekd.cli.options import parse_numbers


def init(
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of pictures by class, .npz, .csv, .parquet, .py or a hub name; text also as .txt, .jsonl."
        ),
    ] = None,
    task: Annotated[
        Literal["image-classification", "sentence-embedding", "text-classification"],
        typer.Option(help="What the model is to do."),
    ] = "image-classification",
    teacher: Annotated[
        str | None, typer.Option(help="A folder of transformers, a hub name, .onnx or .py; without one it is trained.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Of a .py teacher: .safetensors, or .pt with tensors.")] = None,
    function: Annotated[str | None, typer.Option(help="Of a .py teacher: what makes the module.")] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="A device that `edgekd devices list` names.")
    ] = "local-cpu",
    size: Annotated[int | None, typer.Option(min=1, help="What the model reads: height and width.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of pixels / 255, by channel: 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="The same for their deviation.")] = None,
    labels: Annotated[str | None, typer.Option(help="The classes in the order of their numbers: cat,dog,frog")] = None,
    max_accuracy_drop: Annotated[float, typer.Option(min=0.0, help="In points, below the teacher.")] = 1.0,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("pipeline.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """
    Write a commented pipeline for your data and teacher; what no flag says is asked, or looked up in the data.

    Examples:
      edgekd init --data photos --out flowers.yaml

      edgekd init --data photos --teacher model.py --weights model.safetensors --size 96 --out flowers.yaml

      edgekd init --task text-classification --data intents.csv --out intents.yaml

      edgekd init --data train.csv --teacher resnet50.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    """
    if data is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter("needed, as nobody is here to ask", param_hint="--data")
        data = typer.prompt("Where are the pictures (a folder by class, .npz, .csv, .parquet)?")
        teacher = teacher or typer.prompt("And the teacher (folder, .onnx, .py; empty: train one)?", default="") or None
        target = typer.prompt("For which device?", default=target)
    from edgekd.engine.store import write_atomically
    from edgekd.errors import ConfigError
    from edgekd.hardware.profile import load_profile
    from edgekd.starting import Wanted, drafted

    if out.exists() and not force:
        raise ConfigError(f"{out}: is there already; choose another --out, or replace it with --force")
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: a pipeline's file ends in .yaml")
    load_profile(target)
    name = re.sub(r"[^a-z0-9._-]+", "-", out.stem.lower()).strip("-._") or "mine"
    if task != "image-classification":
        from edgekd.starting_text import drafted_text

        text, told = drafted_text(task, data, teacher, target, name)
        write_atomically(out, text)
        typer.echo(told or "every line is a text")
        typer.echo(f"{out} is written. Next: edgekd plan {out}, edgekd build {out}")
        return
    wanted = Wanted(
        data=data, teacher=teacher, weights=weights, function=function, target=target, size=size,
        mean=parse_numbers(mean, "--mean"), std=parse_numbers(std, "--std"),
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
        max_accuracy_drop=max_accuracy_drop,
    )  # fmt: skip
    text, told = drafted(wanted, name)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    if told:
        typer.echo(told)
    flag = " --allow-code" if any(str(where).endswith(".py") for where in (data, teacher)) else ""
    typer.echo(f"{out} is written. Next: edgekd data inspect {out}, edgekd plan {out}, edgekd build {out}{flag}")
