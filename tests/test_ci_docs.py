"""The workflow and the job in docs/ci are valid, and their commands do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from helpers import onnx_models

from edgekd.settings import read_yaml

DOCS = Path(__file__).parents[1] / "docs" / "ci"
INSTALL = "pip install edgekd"  # stands for what this environment already has
WEIGHT = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)


def read(name: str) -> Any:
    return json.loads(json.dumps(read_yaml((DOCS / name).read_text("utf-8"), name)))


def github_commands() -> list[str]:
    return [step["run"] for step in read("github-actions.yml")["jobs"]["check"]["steps"] if "run" in step]


def gitlab_commands() -> list[str]:
    return list(read("gitlab-ci.yml")["model-gate"]["script"])


def baseline_commands() -> list[str]:
    text = (DOCS / "README.md").read_text("utf-8")
    return [text.split("```sh\n")[1].split("```")[0].strip()]


@pytest.mark.parametrize(
    ("name", "schema"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")]
)
def test_each_file_keeps_to_its_services_schema(name: str, schema: str) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{schema}.json"
    jsonschema.Draft7Validator(json.loads(vendored.read_text("utf-8"))).validate(read(name))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the documents assume: a model, an evaluation set, and a baseline kept by the documented command."""
    (tmp_path / "model").mkdir()
    onnx_models.linear(WEIGHT, tmp_path / "model" / "model.onnx")
    x = np.random.default_rng(1).standard_normal((1000, 64)).astype(np.float32)
    np.savez(tmp_path / "eval.npz", x=x, labels=(x @ WEIGHT).argmax(1))
    run(baseline_commands(), tmp_path)
    return tmp_path


def run(commands: list[str], folder: Path) -> int:
    """As a CI runs them: one after the other, to the first that fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in commands:
        if command != INSTALL:
            done = subprocess.run(["bash", "-ec", command], cwd=folder, env=os.environ | {"PATH": path}, check=False)
            if done.returncode:
                return done.returncode
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("commands", [github_commands, gitlab_commands])
def test_the_commands_pass_an_unchanged_model_and_stop_a_worse_one(repository: Path, commands: Any) -> None:
    assert INSTALL in commands()
    assert run(commands(), repository) == 0
    assert (repository / "check.xml").read_text().startswith("<?xml")
    assert (repository / "check.md").read_text().startswith("### edgekd check")
    onnx_models.linear(WEIGHT[:, ::-1], repository / "model" / "model.onnx")
    assert run(commands(), repository) == 3


@pytest.mark.slow
def test_the_limits_in_the_guide_are_limits(tmp_path: Path) -> None:
    from edgekd.gate.limits import read_limits

    (tmp_path / "limits.yaml").write_text((DOCS / "README.md").read_text("utf-8").split("```yaml\n")[1].split("```")[0])
    assert read_limits(tmp_path / "limits.yaml").size_growth_percent is None
