"""
An aarch64 device in emulation, behind an sshd: the same int8 file on another processor's kernels.

Set up in one command, `bash tests/hardware/aarch64_device.sh FOLDER`; EDGEKD_AARCH64 names the folder.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from helpers.board import Board, needs_sshd
from typer.testing import CliRunner

from edgekd.api import build
from edgekd.cli.app import app
from edgekd.data.dataset import Dataset
from edgekd.data.feeds import feeds
from edgekd.deploy.bundle import Built
from edgekd.deploy.subject import find
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.gate.run import check
from edgekd.hardware.answering import Feeds, predict
from edgekd.hardware.profile import load_profile
from edgekd.hardware.remote.detect import detect_there
from edgekd.hardware.remote.device import remote_device
from edgekd.measuring import measure
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.searching import find_student

FOLDER = os.environ.get("EDGEKD_AARCH64")
HERE = str(Path(__file__).parent.parent / "one-runtime.yaml")
REFUSED = "is an emulator, whose times say nothing of a device: budgets, gates and search refuse them"
pytestmark = [
    needs_sshd,
    pytest.mark.nightly,
    pytest.mark.skipif(
        FOLDER is None, reason="EDGEKD_AARCH64 names no emulated device (aarch64_device.sh sets one up)"
    ),
]


@pytest.fixture
def emulated(board: Board) -> str:
    """Its shell is this machine's; its Python is an aarch64 one."""
    assert FOLDER
    board.instead_of("python3", f'#!/bin/sh\nexec {Path(FOLDER).resolve()}/python3 "$@"\n')
    return str(board.address)


def test_the_digits_artifact_agrees_with_x86_on_a_thousand_samples(
    board: Board, emulated: str, digits: Artifact, workspace: Path, tmp_path: Path
) -> None:
    """Within a step of 255 over the logits' range, and in top-1; of a net that has learnt its task."""
    small = load_pipeline("digits", ["budget.size_mib=0.05"], quick=True)  # int8 alone is so small
    (built,) = build(small, targets=(HERE,), workspace=workspace, out=tmp_path)
    assert built.report["shipped"].startswith("int8")
    subject = find(built.folder, load_profile("local-cpu"), None)
    arrays = Dataset(digits).arrays("test")
    assert subject.signature
    fed = {name: array[:1000] for name, array in feeds(arrays, subject.signature.inputs).items()}
    session = subject.open()
    x86 = predict("model.onnx", session, fed, 64)
    session.close()
    with remote_device(board.address, subject.runtime.packages) as there:
        assert there.emulated
        assert there.about.architecture == "aarch64"
        aarch64 = there.answers(subject.path, subject.runtime, Feeds(fed, 64))
    step = float(x86.max() - x86.min()) / 255
    assert float(np.abs(x86 - aarch64).max()) <= step
    assert np.mean(aarch64.argmax(1) == arrays["labels"][:1000]) > 0.9
    np.testing.assert_array_equal(x86.argmax(1), aarch64.argmax(1))
    assert board.left() == []


def test_its_time_is_emulated_and_budgets_gates_and_search_refuse_it(
    emulated: str, built: Built, micro: Pipeline, workspace: Path, tmp_path: Path
) -> None:
    found = measure(built.folder, HERE, device=emulated)
    assert found.comparison.kind == "emulated"
    assert found.comparison.device.architecture == "aarch64"
    assert found.comparison.device.isa == ("asimddp", "asimdhp")
    with pytest.raises(UnavailableError, match=REFUSED):
        check(built.folder, built.folder, profile=HERE, device=emulated)
    with pytest.raises(UnavailableError, match=REFUSED):
        build(micro, targets=(HERE,), workspace=workspace, out=tmp_path, device=emulated)
    with pytest.raises(UnavailableError, match=REFUSED):
        find_student(micro, target=HERE, workspace=workspace, out=tmp_path, device=emulated)
    done = CliRunner().invoke(app, ["profile", str(built.folder), "--target", HERE, "--device", emulated])
    assert done.exit_code == 0, done.output
    assert ", emulated, n " in done.stdout


def test_it_is_detected_as_what_it_is(board: Board, emulated: str) -> None:
    found = detect_there(board.address)
    assert found.profile.hardware.architecture == "aarch64"
    assert found.profile.hardware.cores == len(os.sched_getaffinity(0))
    assert found.runtimes == {"onnxruntime": version("onnxruntime"), "litert": None}
