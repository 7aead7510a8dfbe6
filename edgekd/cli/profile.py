"""`edgekd profile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import DEVICES, Runtime, ShapeOption, Target, parse_shapes, profile_at

T = TypeVar("T")
Found: TypeAlias = "Measured | Comparison | ByTool"
S = TypeVar("S", bound="Settings")
SOME_FAILED = 6

if TYPE_CHECKING:
    from edgekd.cli.progress import Watcher
    from edgekd.engine.events import Listener
    from edgekd.errors import EdgekdError
    from edgekd.hardware.measure.result import Alone, Comparison, Measured
    from edgekd.hardware.remote.by_tool import ByTool
    from edgekd.hardware.remote.farm import Reached
    from edgekd.settings import Settings


def profile(
    models: Annotated[list[Path], typer.Argument(help="Model files or bundles; several are compared.")],
    target: Target = "local-cpu",
    runtime: Runtime = None,
    shape: ShapeOption = None,
    data: Annotated[
        Path | None, typer.Option(help="Real inputs: .npz with an array an input, or .npy for a single one.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Throughput of this batch; may be given again.")
    ] = None,
    sessions: Annotated[
        list[int] | None, typer.Option(min=1, help="Throughput of so many sessions at once; may be given again.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help=f"Measure there instead: {DEVICES}; may be given again.")
    ] = None,
    by_tool: Annotated[
        bool, typer.Option("--by-tool", help="By the runtime's own tool there, for devices without Python.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON on stdout.")] = False,
) -> None:
    """
    Measure models on this machine: latency, start, memory, throughput, energy, and how quiet the machine was.

    Fresh processes, warm-up until medians settle, percentiles only where there are enough runs for them. Several
    models run interleaved in the same processes, and each is faster, slower, the same or inconclusive.

    Examples:
      edgekd profile model.onnx

      edgekd profile model.onnx --shape input_ids=1,32 --shape attention_mask=1,32 --batch 8 --sessions 2

      edgekd profile before.onnx after.onnx model.tflite

      edgekd profile model.onnx --device ssh://pi@raspberrypi.local

      edgekd profile model.onnx --device local --device pi5 --device gateway

      edgekd profile model.tflite --device adb:emulator-5554 --by-tool
    """
    from edgekd.cli.progress import Watcher
    from edgekd.hardware.remote.farm import several

    asked = Asked(models, target, runtime, parse_shapes(shape), data, batch or [], sessions or [], by_tool=by_tool)
    places = several(device or ["local"])
    asked.check(places)
    with Watcher() as watcher:
        watcher.started("measure", ", ".join(path.name for path in models))
        if len(places) > 1:
            done, failed = _on_all(places, asked.measured, watcher)
        else:
            done, failed = {"": asked.measured(places[0], watcher)}, {}
    if len(places) > 1:
        _tell_all(done, failed, as_json=as_json)
        raise typer.Exit(SOME_FAILED if failed else 0)
    show: Callable[[Any], None] = _show_by_tool if by_tool else _show_several if len(models) > 1 else _show_one
    _tell(done[""], show, as_json=as_json)


@dataclass(frozen=True)
class Asked:
    """The same of every device."""

    models: list[Path]
    target: str
    runtime: str | None
    shapes: dict[str, tuple[int, ...]]
    data: Path | None
    batches: list[int]
    sessions: list[int]
    by_tool: bool

    def check(self, places: list[Reached]) -> None:
        loads = self.batches or self.sessions
        if len(self.models) > 1 and self.by_tool:
            raise typer.BadParameter("times one model at a time", param_hint="--by-tool")
        if len(self.models) > 1 and loads:
            raise typer.BadParameter("throughput is measured of one model at a time", param_hint="--batch")
        if self.by_tool and (self.data or loads or any(place.address is None for place in places)):
            raise typer.BadParameter("goes with a --device elsewhere, and without --data, --batch and --sessions")

    def measured(self, place: Reached, listener: Listener) -> Found:
        from edgekd import measuring

        on = profile_at(place, self.target, self.runtime)
        shared: dict[str, Any] = {
            "runtime": self.runtime, "shapes": self.shapes, "device": place.address,
            "listener": listener,
        }  # fmt: skip
        if self.by_tool:
            return measuring.measure_by_tool(self.models[0], on, **shared)
        if len(self.models) > 1:
            return measuring.compare(_names(self.models), on, data=self.data, **shared)
        return measuring.measure(
            self.models[0], on, data=self.data, batches=self.batches, sessions=self.sessions, **shared
        )


def _on_all(
    places: list[Reached], job: Callable[[Reached, Listener], T], watcher: Watcher
) -> tuple[dict[str, T], dict[str, EdgekdError]]:
    """At once; only what is to be said reaches the terminal: their bars would overwrite each other."""
    from edgekd.engine.events import Telling
    from edgekd.hardware.remote.farm import at_once

    def one(place: Reached) -> Callable[[], T]:
        return lambda: job(place, Telling(lambda sentence: watcher.said(f"{place.name}: {sentence}")))

    return at_once({place.name: one(place) for place in places}, watcher.said)


def _tell_all(done: Mapping[str, Found], failed: Mapping[str, EdgekdError], *, as_json: bool) -> None:
    if as_json:
        rows = {name: found.model_dump(mode="json", by_alias=True) for name, found in done.items()}
        print_json({"devices": rows, "failed": {name: str(error) for name, error in failed.items()}})
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edgekd.hardware.measure.result import Measured
    from edgekd.hardware.remote.by_tool import ByTool

    console, notes = Console(), []
    table = Table("device", "model", "p50 ms", "p90 ms", "kind", "times faster than the first", "runs on")
    for name, found in done.items():
        if isinstance(found, ByTool):
            told = f"{found.latency_ms.value:.3f} {found.statistic}"
            table.add_row(escape(name), escape(found.model), told, "", found.kind, "", found.device.model)
            continue
        seen = found.comparison if isinstance(found, Measured) else found
        notes += [f"{name}: TOO NOISY to rely on absolute latencies: {reason}" for reason in seen.noise.reasons]
        for model, row in seen.models.items():
            p50, p90 = row.latency_p50_ms, "" if row.latency_p90_ms is None else f"{row.latency_p90_ms:.3f}"
            told = f"{p50.value:.3f} [{p50.low:.3f}, {p50.high:.3f}]"
            table.add_row(escape(name), escape(model), told, p90, seen.kind, _faster(seen, model), seen.device.model)
    for name in failed:
        table.add_row(escape(name), "", "", "", "none", "", "failed")
    console.print(table)
    for line in [*notes, *(f"{name} failed: {error}" for name, error in failed.items())]:
        console.print(line, markup=False, highlight=False)


def _faster(seen: Comparison, model: str) -> str:
    """Than the first of them, with what that says."""
    base = next(iter(seen.models))
    ratio = seen.speedup_over.get(base, {}).get(model)
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] {seen.verdict(model, base)}" if ratio else ""


def _tell(found: S, show: Callable[[S], None], *, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        show(found)


def _names(models: list[Path]) -> dict[str, Path]:
    """Each under a name as short as tells it from the others; a file that is given twice is two models."""
    found: dict[str, Path] = {}
    for path in models:
        alone = [other.name for other in models].count(path.name) == 1
        name = path.name if alone else str(path)
        times = sum(1 for other in found.values() if other == path)
        found[f"{name} ({times + 1})" if times else name] = path
    return found


def _show_one(measured: Measured) -> None:
    seen, found = measured.comparison, measured.figures
    low, high = found.latency_p50_ms.low, found.latency_p50_ms.high
    lines = [
        f"{measured.model}, {measured.runtime['name']} {measured.runtime.get('version', '')}, "
        f"{measured.runtime['threads']} threads, {', '.join(measured.inputs)}",
        f"latency p50      {found.latency_p50_ms.value:.3f} ms [{low:.3f}, {high:.3f}], {seen.kind}, n {found.n} "
        f"({seen.processes} processes)",
        *(f"latency {name}      {_or_too_few(value, found.n)}" for name, value in (
            ("p90", found.latency_p90_ms), ("p95", found.latency_p95_ms), ("p99", found.latency_p99_ms))),
        f"CPU time p50     {found.cpu_p50_ms:.3f} ms",
        f"load             {found.load_ms:.1f} ms, first inference {found.first_inference_ms:.3f} ms, settled after "
        f"{found.warmup_runs} runs",
        f"size             {found.size_bytes / 2**20:.3f} MiB",
        *_alone(measured.alone),
        *_noise(seen),
    ]  # fmt: skip
    typer.echo("\n".join(lines))


def _show_by_tool(found: ByTool) -> None:
    time, version = found.latency_ms, f" {found.tool_version}" if found.tool_version else ""
    typer.echo(
        f"{found.model}, by {found.tool}{version}\n"
        f"latency {found.statistic:8} {time.value:.3f} ms [{time.low:.3f}, {time.high:.3f}], {found.kind}, "
        f"n {found.runs or 'not told'} ({found.processes} processes), inputs random\n"
        f"machine          {found.device.model}\n"
        f"command          {' '.join(found.command)}"
    )


def _alone(alone: Alone) -> list[str]:
    lines = []
    if alone.peak_memory_mib and alone.process_peak_mib:
        lines.append(
            f"peak memory      {alone.peak_memory_mib.value:.1f} MiB of the model, {alone.process_peak_mib.value:.1f} "
            "MiB of the whole process"
        )
    for row in alone.throughput:
        rate = row.items_per_s
        load = f"batch {row.batch}, {row.sessions} session{'s' if row.sessions > 1 else ''}"
        lines.append(f"throughput       {rate.value:.4g} [{rate.low:.4g}, {rate.high:.4g}] a second, {load}")
    energy = f"{alone.energy_mj:.2f} mJ an inference" if alone.energy_mj is not None else alone.energy_none_because
    return [*lines, f"energy           {energy}"]


def _noise(seen: Comparison) -> list[str]:
    return [
        f"machine          {seen.device.model}; {seen.noise}",
        *([f"conditions       {seen.conditions}"] if seen.conditions and str(seen.conditions) else []),
        *(f"TOO NOISY to rely on absolute latencies: {reason}" for reason in seen.noise.reasons),
    ]


def _or_too_few(value: float | None, n: int) -> str:
    return f"{value:.3f} ms" if value is not None else f"not supported by n {n}"


def _show_several(seen: Comparison) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    base = next(iter(seen.models))
    table = Table("model", "p50 ms", "p90 ms", "MiB", f"times faster than {escape(base)}", "")
    for name, found in seen.models.items():
        ratio = seen.speedup_over[base].get(name)
        table.add_row(
            escape(name),
            f"{found.latency_p50_ms.value:.3f} [{found.latency_p50_ms.low:.3f}, {found.latency_p50_ms.high:.3f}]",
            "" if found.latency_p90_ms is None else f"{found.latency_p90_ms:.3f}",
            f"{found.size_bytes / 2**20:.3f}",
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio else "",
            seen.verdict(name, base) if ratio else "",
        )
    console = Console()
    console.print(table)
    for line in _noise(seen):
        console.print(line, markup=False, highlight=False)
