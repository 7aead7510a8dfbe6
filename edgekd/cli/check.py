"""`edgekd check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import OnDevice, Runtime, ShapeOption, Target, parse_limit, parse_shapes, profile_at

if TYPE_CHECKING:
    from edgekd.gate.limits import Limits
    from edgekd.gate.result import GateResult
    from edgekd.hardware.profile import DeviceProfile

MAX = "A share like 3% or a number; none to leave it unchecked."


def check(
    candidate: Annotated[Path, typer.Argument(help="A bundle's folder, or a model file.")],
    baseline: Annotated[
        Path | None, typer.Option(help="What it must not be worse than: a bundle, a model file, a saved baseline.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Evaluation set, .npz: labels (or targets), and images or one array an input."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="accuracy, f1-macro, spearman, mae or rmse; else by the labels.")
    ] = None,
    max_latency_regression: Annotated[str | None, typer.Option(help=f"Default 3%. {MAX}")] = None,
    max_accuracy_drop: Annotated[
        str | None, typer.Option(help="Default 0.5 (points; percent for mae and rmse). none: unchecked.")
    ] = None,
    max_size_growth: Annotated[str | None, typer.Option(help=f"Default 10%. {MAX}")] = None,
    max_memory_growth: Annotated[str | None, typer.Option(help=f"Default 10%, 1 MiB at least. {MAX}")] = None,
    budget: Annotated[
        Path | None, typer.Option(help="A YAML file of limits (`edgekd schema limits`); options come on top.")
    ] = None,
    inconclusive: Annotated[
        str, typer.Option(help="What an undecidable limit means: fail (exit code 5) or pass (with a warning).")
    ] = "fail",
    target: Target = "local-cpu",
    runtime: Runtime = None,
    shape: ShapeOption = None,
    device: OnDevice = None,
    save_baseline: Annotated[
        Path | None, typer.Option(help="Keep the candidate here as a baseline: the model, never its milliseconds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 there.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown there.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print GitHub annotations; add to $GITHUB_STEP_SUMMARY where that is set.")
    ] = False,
) -> None:
    """
    A gate for CI: is this model slower, larger or worse than the baseline, on this device, in this job?

    Both models run here and now, interleaved in fresh processes; answers are compared sample by sample. Each limit
    passes, fails, or cannot be decided by so few samples. Exit codes: 0, 3 (contract or accuracy), 4 (latency,
    size, memory, layers fallen back to float), 5 (inconclusive), 2 and 6 for what cannot be compared or run.

    Examples:
      edgekd check model.onnx --baseline released.onnx

      edgekd check dist/digits/local-cpu --baseline baseline --data eval.npz --junit check.xml

      edgekd check model.onnx --baseline released.onnx --data eval.npz --device ssh://pi@raspberrypi.local

      edgekd check model.onnx --save-baseline baseline --data eval.npz
    """
    if inconclusive not in ("pass", "fail"):
        raise typer.BadParameter(f"{inconclusive!r}: pass or fail", param_hint="--inconclusive")
    if baseline is None and save_baseline is None:
        raise typer.BadParameter("say what to check against, or --save-baseline to keep one", param_hint="--baseline")
    from edgekd.cli.progress import Watcher
    from edgekd.gate.result import exit_code
    from edgekd.gate.run import check as run
    from edgekd.hardware.remote.farm import reached

    given = {
        "--max-latency-regression": max_latency_regression,
        "--max-accuracy-drop": max_accuracy_drop,
        "--max-size-growth": max_size_growth,
        "--max-memory-growth": max_memory_growth,
    }
    limits = _limits(budget, given)
    files = {"--junit": junit, "--sarif": sarif, "--markdown": markdown}
    _check_places(files)
    code, place = 0, reached(device or "local")
    if baseline is not None:
        with Watcher() as watcher:
            result = run(
                candidate, baseline, data=data, metric=metric, limits=limits, runtime=runtime,
                profile=profile_at(place, target, runtime), shapes=parse_shapes(shape), device=place.address,
                listener=watcher,
            )  # fmt: skip
        if as_json:
            print_json(result.model_dump(mode="json", by_alias=True))
        else:
            _show(result)
        _write(result, inconclusive, files)
        if github:
            _tell_github(result, to_stderr=as_json)
        code = exit_code(result, inconclusive)
        if save_baseline is not None and result.state != "pass":
            typer.echo(f"--save-baseline: not saved, since the check did not pass ({result.state})", err=True)
            raise typer.Exit(code)
    if save_baseline is not None:
        _save(candidate, save_baseline, profile_at(place, target, runtime), data, runtime)
    raise typer.Exit(code)


LIMITS = {
    "--max-latency-regression": "latency_regression_percent",
    "--max-accuracy-drop": "accuracy_drop_points",
    "--max-size-growth": "size_growth_percent",
    "--max-memory-growth": "memory_growth_percent",
}


def _limits(file: Path | None, given: dict[str, str | None]) -> Limits:
    from edgekd.gate.limits import Limits, read_limits

    limits = read_limits(file) if file else Limits()
    changed = {LIMITS[option]: parse_limit(text, option) for option, text in given.items() if text is not None}
    return limits.model_copy(update=changed)


def _check_places(files: dict[str, Path | None]) -> None:
    """Before minutes of measuring: each can be written, and no two are one."""
    from edgekd.errors import ConfigError

    places = [path for path in files.values() if path is not None]
    if len({path.absolute() for path in places}) < len(places):
        raise ConfigError(f"{', '.join(files)}: two of them name one file; give each its own")
    for path in places:
        new = not path.exists()
        _to_file(path, "", "a")
        if new:  # an empty file would look like a result where nothing could be compared
            path.unlink()


def _write(result: GateResult, inconclusive: str, files: dict[str, Path | None]) -> None:
    from edgekd.gate.junit import junit
    from edgekd.gate.markdown import markdown
    from edgekd.gate.sarif import sarif

    made = {
        "--junit": lambda: junit(result, inconclusive),
        "--sarif": lambda: sarif(result),
        "--markdown": lambda: markdown(result),
    }
    for option, path in files.items():
        if path is not None:
            _to_file(path, made[option](), "w")


def _tell_github(result: GateResult, *, to_stderr: bool) -> None:
    """Annotations, which the runner reads on either stream, and the step's summary."""
    import os

    from edgekd.gate.markdown import markdown, workflow_commands

    typer.echo(workflow_commands(result), nl=False, err=to_stderr)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _to_file(Path(summary), markdown(result), "a")


def _to_file(path: Path, text: str, mode: str) -> None:
    from edgekd.errors import UnavailableError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}; choose another place") from error


def _save(candidate: Path, folder: Path, profile: DeviceProfile, data: Path | None, runtime: str | None) -> None:
    from edgekd.gate import samples
    from edgekd.gate.baseline import save

    save(candidate, folder, profile, samples.read(data) if data else None, runtime)
    typer.echo(f"baseline: {folder}", err=True)


def _show(result: GateResult) -> None:
    from edgekd.gate.words import headline, rows

    typer.echo(headline(result))
    for name, state, against, says in rows(result):
        typer.echo(f"  {state:13} {name:14} {against}{'; ' if against else ''}{says}")
    for note in result.notes:
        typer.echo(f"  {note}")
