"""`edgekd`: the commands, and what becomes of errors and signals."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from types import FrameType

import typer

from edgekd.cli import (
    bakeoff,
    build,
    cache,
    check,
    data,
    devices,
    distill,
    doctor,
    export,
    init,
    pipelines,
    plan,
    profile,
    prune,
    schema,
    search,
    sparsity,
    toolchain,
)
from edgekd.cli.console import complain, print_version
from edgekd.errors import INTERRUPTED, EdgekdError, StoppedError

app = typer.Typer(
    name="edgekd",
    help="Turn a trained model into the fastest artifact that a device can run without losing what matters.",
    epilog="Exit codes: 0 good, 1 internal error, 2 usage or configuration, 3 accuracy budget failed, 4 latency, size "
    "or memory failed, 5 inconclusive, 6 target or environment not available, 130 interrupted (Ctrl-C, SIGTERM).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("build")(build.build)
app.command("export")(export.export)
app.command("distill")(distill.distill)
app.command("search")(search.search)
app.command("prune")(prune.prune)
app.command("sparsity")(sparsity.sparsity)
app.command("bakeoff")(bakeoff.bakeoff)
app.command("plan")(plan.plan)
app.command("profile")(profile.profile)
app.command("check")(check.check)
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(data.app, name="data")
app.add_typer(devices.app, name="devices")
app.add_typer(cache.app, name="cache")
app.add_typer(toolchain.app, name="toolchain")
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=print_version, is_eager=True),
) -> None:
    """Turn a trained model into the fastest artifact that a device can run without losing what matters."""


def main() -> None:
    """Run the command line; a person's mistake becomes one sentence and its exit code."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing that edgekd runs may go out and look for a model
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # edgekd has its own
    for library in ("torchao", "torch.utils._pytree"):
        logging.getLogger(library).setLevel(logging.ERROR)  # of their own deprecations and GPU extensions
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    trace = sum(word.count("v") for word in sys.argv if re.fullmatch(r"-v+", word)) >= 2
    try:
        app(standalone_mode=True)
    except EdgekdError as error:
        complain(error, trace=trace)
        sys.exit(error.exit_code)
    except StoppedError:
        print("edgekd: interrupted; finished stages are kept, the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001  the last resort: one sentence here too, the rest for who asks
        complain(error, trace=trace)
        if not trace:
            print("edgekd: this is a fault in edgekd; -vv shows where, please report it", file=sys.stderr)
        sys.exit(1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """The first signal unwinds what runs, locks and half-written files included; the second does not wait for that."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, lambda *_: os._exit(INTERRUPTED))
    raise StoppedError
