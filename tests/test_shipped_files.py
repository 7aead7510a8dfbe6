"""What ships is complete: the YAML loads, the links are links, the README's lines are the ones that CI runs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import types
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from edgekd import resources, tasks
from edgekd.deploy.exporter import Exported
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.hardware import profile

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", resources.shipped("hw_profiles"))
def test_a_profile_loads_under_its_own_name(name: str) -> None:
    assert profile.load_profile(name).name == name


@pytest.mark.parametrize("name", resources.shipped("pipelines"))
def test_a_pipeline_loads_under_its_own_name_and_names_shipped_devices(name: str) -> None:
    loaded = tasks.load(name)
    assert loaded.name == name
    assert set(loaded.targets) <= set(resources.shipped("hw_profiles"))


@pytest.mark.parametrize("name", resources.shipped("pipelines"))
def test_what_quick_sets_exists(name: str) -> None:
    assert tasks.load(name, quick=True) != tasks.load(name)


@pytest.mark.parametrize("kind", ["exporters", "pipelines", "hw_profiles"])
def test_the_source_tree_links_are_folders(kind: str) -> None:
    """Where git made text files of our links (Windows without symlinks), say so here and not in a broken wheel."""
    assert (files("edgekd") / kind).is_dir(), (
        f"edgekd/{kind} is no folder: git config core.symlinks true, then check out again"
    )


def test_the_links_are_committed_as_links() -> None:
    for kind in ("exporters", "pipelines", "hw_profiles"):
        link = ROOT / "edgekd" / kind
        assert link.is_symlink(), f"{link} is a copy; make it a link to ../{kind}"
        assert link.readlink() == Path("..") / kind


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.+?)\n```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_the_readmes_stage_runs_as_it_stands(tmp_path: Path) -> None:
    text = next(block for block in python_blocks() if "class Sharpen" in block)
    settings, _, code = text.partition("# mypackage/sharpen.py")
    module = types.ModuleType("mypackage.sharpen")
    exec(code.replace("...", "(work.out / 'x').touch()"), module.__dict__)  # noqa: S102  our own README
    sys.modules["mypackage"], sys.modules["mypackage.sharpen"] = types.ModuleType("mypackage"), module
    names: dict[str, Any] = {}
    exec(settings, names)  # noqa: S102
    data = Artifact("dataset", "0", tmp_path)
    made = Builder(Store(tmp_path / "w"), Silent()).call(names["SHARPEN"], names["Sharpen"](amount=2.0), {"data": data})
    assert made.kind == "dataset"


def test_the_readmes_exporter_keeps_the_contract(tmp_path: Path) -> None:
    names: dict[str, Any] = {"convert": lambda path: path.read_bytes()}
    exec(next(block for block in python_blocks() if "MyRuntimeExporter" in block), names)  # noqa: S102
    (tmp_path / "model.onnx").write_bytes(b"graph")
    given = types.SimpleNamespace(onnx=tmp_path / "model.onnx", signature=None)
    work = types.SimpleNamespace(out=tmp_path)
    done = names["MyRuntimeExporter"]().export(given, None, work)
    assert isinstance(done, Exported)
    assert all((tmp_path / name).is_file() for name in done.files)
    assert done.entry in done.files


def test_ci_runs_the_second_line_of_the_readme() -> None:
    blocks = re.findall(r"```sh\n(.+?)\n```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    install_and_run, install_and_test = blocks[0].splitlines()
    assert "edgekd build digits" in install_and_run
    assert install_and_test.endswith("pytest")
    # the script's own way to the line, run here on the README
    (picked,) = re.findall(r"^mapfile -t lines < <\((.+)\)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    found = subprocess.run(["bash", "-c", picked], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == [install_and_run, install_and_test]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_edgekd_is_there(path: Path) -> None:
    """They take hours, and are run seldom: a name that has moved would be found too late."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "edgekd":
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")
