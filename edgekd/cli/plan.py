"""`edgekd plan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import PipelineName, Quick, Set, Targets, WorkspaceOption
from edgekd.units import duration


def plan(
    pipeline: PipelineName,
    target: Targets = None,
    set_: Set = None,
    quick: Quick = False,
    workspace: WorkspaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """
    Say what `edgekd build` would run, and why it isn't cached. Runs nothing.

    Examples:
      edgekd plan digits

      edgekd plan digits --set distill.losses.0.temperature=2
    """
    from edgekd import api
    from edgekd.tasks import load

    settings = load(pipeline, set_ or (), quick=quick)
    found = api.plan(settings, targets=target or (), workspace=workspace)
    if as_json:
        print_json({name: [asdict(step) for step in steps] for name, steps in found.items()})
        return
    for name, steps in found.items():
        typer.echo(f"{settings.name} on {name}")
        for step in steps:
            label = f"{step.stage} {step.at}".strip()
            typer.echo(f"  cached  {label}" if step.cached else f"  run     {label:44} {step.reason}")
        todo = [step for step in steps if not step.cached]
        time = duration(sum(step.seconds for step in todo))
        typer.echo(f"{len(todo)} of {len(steps)} stages would run, about {time}" if todo else "everything is cached")
