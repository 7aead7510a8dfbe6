"""`edgekd cache`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import WorkspaceOption

app = typer.Typer(help="What finished work is kept, whether it is sound, and what may go.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


@app.command("show")
def show(workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """
    List what is kept, the least recently used first.

    Example:
      edgekd cache show
    """
    from dataclasses import asdict

    from edgekd.engine import prune
    from edgekd.engine.store import Store
    from edgekd.engine.workspace import default_workspace, size_cap_bytes

    root = workspace or default_workspace()
    rows = prune.entries(Store(root))
    total = sum(row.size_bytes for row in rows)
    if as_json:
        print_json({"workspace": str(root), "size_bytes": total, "cap_bytes": size_cap_bytes(),
                    "objects": [asdict(row) for row in rows]})  # fmt: skip
        return
    for row in rows:
        stages = ", ".join(row.stages) or "orphan: no run points at it"
        typer.echo(f"{row.digest[:12]}  {row.size_bytes / 1e3:10.0f} kB  idle {row.idle_s / 3600:6.1f} h  {stages}")
    typer.echo(f"{len(rows)} objects, {total / 1e6:.1f} MB of at most {size_cap_bytes() / 1e9:.1f} GB, in {root}")


@app.command("verify")
def verify(workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """
    Read every byte and compare it with its digest.

    What is unsound or missing is named, and made again when next needed.

    Exit code 6 when something is.

    Example:
      edgekd cache verify
    """
    from edgekd.engine import prune
    from edgekd.engine.store import Store
    from edgekd.engine.workspace import default_workspace

    store = Store(workspace or default_workspace())
    checked, bad, gone = len(prune.entries(store)), prune.unsound(store), prune.missing(store)
    if as_json:
        print_json({"checked": checked, "unsound": [row.digest for row in bad], "missing": list(gone)})
    else:
        for row in bad:
            typer.echo(f"{row.digest[:12]} of {', '.join(row.stages)} was changed or cut short")
        for digest, stage in gone.items():
            typer.echo(f"{digest[:12]} of {stage} is gone")
        typer.echo(f"{checked} objects checked, {len(bad)} unsound, {len(gone)} missing")
    raise typer.Exit(6 if bad or gone else 0)


@app.command("prune")
def prune_(
    workspace: WorkspaceOption = None,
    older_than: Annotated[str | None, typer.Option(help="Only what was idle for longer: 12h, 30d.")] = None,
    max_size: Annotated[str | None, typer.Option(help="As much as it takes to fit: 500M, 2G.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only what this pipeline made.")] = None,
    targets: Annotated[bool, typer.Option("--targets", help="Only stored soft labels of teachers.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything that nothing needs.")] = False,
    keep: Annotated[list[Path] | None, typer.Option(help="Keep what the locks below this folder name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """
    Remove finished work that nothing needs, the least recently used first.

    What a running build needs, or an edgekd.lock below --keep (by default dist/), is never touched.

    Examples:
      edgekd cache prune --older-than 30d

      edgekd cache prune --max-size 2G --keep dist --keep releases
    """
    if not (older_than or max_size or pipeline or targets or everything):
        raise typer.BadParameter("say what may go: --older-than, --max-size, --pipeline, --targets or --all")
    from edgekd.engine import prune
    from edgekd.engine.store import Store
    from edgekd.engine.workspace import default_workspace

    gone = prune.prune(
        Store(workspace or default_workspace()),
        keep=keep or [Path("dist")],
        older_than_s=parse_age(older_than) if older_than else None,
        max_bytes=parse_size(max_size) if max_size else None,
        pipeline=pipeline,
        kind="targets" if targets else None,
        dry_run=dry_run,
    )
    if as_json:
        print_json({"removed": [row.digest for row in gone], "dry_run": dry_run})
        return
    freed = sum(row.size_bytes for row in gone) / 1e6
    typer.echo(f"{len(gone)} objects, {freed:.1f} MB {'would go' if dry_run else 'removed'}")


def parse_age(text: str) -> float:
    """`12h` or `30d` to seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r}: write it like 12h or 30d")
    return float(match[1]) * (3600 if match[2] == "h" else 86_400)


def parse_size(text: str) -> int:
    """`500M` or `2G` to bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", text.lower())
    if match is None:
        raise typer.BadParameter(f"{text!r}: write it like 500M or 2G")
    return int(float(match[1]) * UNITS[match[2]])
