"""`edgekd pipelines`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import print_json

app = typer.Typer(help="The pipelines that ship with edgekd.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """
    Name each pipeline with its task and targets.

    Example:
      edgekd pipelines list
    """
    from edgekd import resources
    from edgekd.tasks import load

    rows = [load(name) for name in resources.shipped("pipelines")]
    if as_json:
        print_json([{"name": row.name, "task": row.task, "targets": list(row.targets)} for row in rows])
        return
    for row in rows:
        typer.echo(f"{row.name:20} {row.task:24} {', '.join(row.targets)}")


@app.command("validate")
def validate(
    file: Annotated[str, typer.Argument(help="A path ending in .yaml, or a shipped pipeline's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """
    Read a pipeline as a build would, and say what is wrong with it: settings, files, devices, teacher.

    Example:
      edgekd pipelines validate mine.yaml
    """
    from edgekd import api

    pipeline = api.validate(file)
    if as_json:
        print_json({"name": pipeline.name, "valid": True, "code": list(pipeline.code)})
        return
    code = f"; runs code, with --allow-code: {', '.join(pipeline.code)}" if pipeline.code else ""
    typer.echo(f"{file}: good ({pipeline.task} for {', '.join(pipeline.targets)}){code}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A shipped pipeline's name, or a path ending in .yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every setting, defaults written out.")] = False,
) -> None:
    """
    Print a pipeline's file, or with --json all its settings.

    Example:
      edgekd pipelines show digits > my.yaml
    """
    from edgekd import resources
    from edgekd.tasks import load

    if as_json:
        print_json(load(name).model_dump(mode="json", by_alias=True))
    else:
        typer.echo(resources.read("pipelines", name), nl=False)
