from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import onnx_models
from helpers.board import board
from helpers.gate import LABELS, WEIGHT, X
from helpers.phone import phone
from helpers.pictures import picture

from edgekd.api import build
from edgekd.data.stages import LOAD_DIGITS, DigitsSource
from edgekd.deploy.bundle import CODE, Built
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.toolchains import rooms

__all__ = ["board", "phone"]  # fixtures

# the shipped pipeline at its smallest: every stage is real, nothing is learnt well
MICRO = [
    "data.val_per_class=20",
    "data.test_per_class=450",  # leaves 300 images to train on
    "teacher.train.epochs=1",
    "teacher.shape={stem_width: 16, stem_stride: 2, widths: [[48, 48], [64, 64]], strides: [1, 2]}",
    "search.candidates=8",
    "search.measure=1",
    "search.space.width_max=32",
    "distill.epochs=1",
    "quantize.qat.epochs=1",
    "quantize.calibration_images=64",
    "quantize.margin_points=20",  # what is hardly trained loses now more, now less
    "budget={size_mib: 0.2}",
    f"targets=[{Path(__file__).parent / 'one-runtime.yaml'}]",
]


def pytest_configure() -> None:
    """Each worker of `pytest -n` keeps to cores of its own, so that none disturbs what another measures."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(worker.removeprefix("gw")) :: workers] or cores
        os.sched_setaffinity(0, own)
        os.environ["OMP_NUM_THREADS"] = str(len(own))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "workspace")


@pytest.fixture(scope="session")
def micro_settings() -> list[str]:
    return MICRO


@pytest.fixture(scope="session")
def micro() -> Pipeline:
    return load_pipeline("digits", MICRO)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="session")
def built(micro: Pipeline, workspace: Path) -> Built:
    """One real build from data to bundle, shared by all tests that look at what it left."""
    (done,) = build(micro, workspace=workspace, out=workspace.parent / "dist", include_samples=2)
    return done


@pytest.fixture(scope="session")
def digits(workspace: Path) -> Artifact:
    """3,200 / 800 / 1,000 real digits."""
    return Builder(Store(workspace), Silent()).call(LOAD_DIGITS, DigitsSource(), {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_models.linear(WEIGHT, tmp_path / "model.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "eval.npz", x=X, labels=LABELS)
    return tmp_path / "eval.npz"


@pytest.fixture(scope="session")
def run_py(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`run.py` as a bundle has it, beside its copy of the preprocessing."""
    folder = tmp_path_factory.mktemp("run")
    for name, (package, source) in CODE.items():
        (folder / name).write_text((files(package) / source).read_text("utf-8"), "utf-8")
    spec = importlib.util.spec_from_file_location("run_of_a_bundle", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", [*sys.path])
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty of each of two classes."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            picture().save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def rknn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rockchip's toolchain; that of the person's own workspace, where it is there."""
    home = os.environ.get("EDGEKD_TOOLCHAINS") or str(tmp_path_factory.getbasetemp() / "toolchains")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKD_HOME", home)
        rooms.install("rknn", lambda _: None)
        yield
