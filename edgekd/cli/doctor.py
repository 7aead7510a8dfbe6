"""`edgekd doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import WorkspaceOption

MARKS = {"good": "ok     ", "absent": "absent ", "wrong": "WRONG  "}


def doctor(
    workspace: WorkspaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """
    Say what this machine can do: what is installed, what each extra would add, which runtimes answer.

    What is wrong stands beside the command that mends it. Exit code 6 when something is.

    Example:
      edgekd doctor
    """
    from edgekd import checkup

    found = checkup.examine(workspace)
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            mend = f"  ->  {finding.mend}" if finding.mend else ""
            typer.echo(f"{MARKS[finding.state]}{finding.name:20} {finding.says}{mend}")
    raise typer.Exit(6 if any(finding.state == "wrong" for finding in found) else 0)
