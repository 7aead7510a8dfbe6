"""`edgekd`: the commands, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys

import typer

from edgekd.cli import build, devices, pipelines, plan
from edgekd.cli.console import complain, print_version
from edgekd.errors import INTERRUPTED, EdgekdError

app = typer.Typer(
    name="edgekd",
    help="Turn a trained model into the fastest artifact that a device can run without losing what matters.",
    epilog="Exit codes: 0 good, 1 internal error, 2 usage or configuration, 3 accuracy budget failed, 4 latency, size "
    "or memory failed, 5 inconclusive, 6 target or environment not available, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("build")(build.build)
app.command("plan")(plan.plan)
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(devices.app, name="devices")


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=print_version, is_eager=True),
) -> None:
    """Turn a trained model into the fastest artifact that a device can run without losing what matters."""


def main() -> None:
    """Run the command line; a person's mistake becomes one sentence and its exit code."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing that edgekd runs may go out and look for a model
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # edgekd has its own
    for library in ("torchao", "torch.utils._pytree", "torch.onnx"):
        logging.getLogger(library).setLevel(logging.ERROR)  # of their own deprecations and GPU extensions
    try:
        app()
    except EdgekdError as error:
        complain(error, trace="-vv" in sys.argv)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("edgekd: interrupted; finished stages are kept, the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
