"""What is kept, what may go, what this machine can do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgekd import checkup
from edgekd.cli.cache import parse_age, parse_size
from edgekd.deploy.bundle import Built


def edgekd(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekd", *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | {"COLUMNS": "300"} | env,
    )  # fmt: skip


def test_show_and_verify_read_a_real_workspace(built: Built, workspace: Path, tmp_path: Path) -> None:
    where = ["--workspace", str(workspace)]
    shown = json.loads(edgekd("cache", "show", "--json", *where, cwd=tmp_path).stdout)
    stages = {stage for row in shown["objects"] for stage in row["stages"]}
    assert {"teacher.train", "distill.float", "measure.compare", "select", "report"} <= stages
    assert shown["size_bytes"] == sum(row["size_bytes"] for row in shown["objects"])
    done = edgekd("cache", "verify", *where, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith(f"{len(shown['objects'])} objects checked, 0 unsound, 0 missing\n")


def test_verify_names_what_is_unsound_with_exit_code_6(built: Built, workspace: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    victim = next(p for p in (copy / "objects").rglob("model.onnx"))
    victim.write_bytes(b"")
    other = next(p for p in (copy / "objects").iterdir() if p != victim.parent)
    shutil.rmtree(other)
    done = edgekd("cache", "verify", "--workspace", str(copy), cwd=tmp_path)
    assert done.returncode == 6
    assert f"{victim.parent.name[:12]} of " in done.stdout
    assert re.search(f"{other.name[:12]} of .* is gone", done.stdout)
    assert "1 unsound, 1 missing" in done.stdout


def test_prune_keeps_what_a_lock_in_dist_names_unless_told_otherwise(
    built: Built, workspace: Path, tmp_path: Path
) -> None:
    import shutil

    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    where = ["--workspace", str(copy)]
    kept = edgekd("cache", "prune", "--all", "--dry-run", "--json", *where, cwd=workspace.parent)  # dist/ is there
    needed = {row["digest"] for row in json.loads((built.folder / "edgekd.lock").read_text())["rows"]}
    assert not needed & set(json.loads(kept.stdout)["removed"])
    gone = edgekd("cache", "prune", "--all", *where, cwd=tmp_path)
    assert gone.returncode == 0
    assert list((copy / "objects").iterdir()) == []


def test_prune_wants_to_be_told_what_may_go(tmp_path: Path) -> None:
    done = edgekd("cache", "prune", "--workspace", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "say what may go" in done.stderr
    done = edgekd("cache", "prune", "--older-than", "soon", "--workspace", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "write it like 12h or 30d" in done.stderr


def test_ages_and_sizes_are_read_as_written() -> None:
    assert (parse_age("12h"), parse_age("30d")) == (43_200, 2_592_000)
    assert (parse_size("500M"), parse_size("2g"), parse_size("7")) == (500 * 2**20, 2 * 2**30, 7)


def test_doctor_finds_a_good_machine_good_and_asks_every_runtime(tmp_path: Path) -> None:
    done = edgekd("doctor", "--json", cwd=tmp_path, EDGEKD_HOME=str(tmp_path))
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert found["runtime onnxruntime"]["says"] == "answers"
    assert found["runtime openvino"]["says"] == "answers"
    assert found["runtime litert"]["says"].startswith("installed, ")
    assert found["torch"]["state"] == "good"
    assert found["[demo] mlxtend"]["state"] == "good"
    assert found["[tensorrt] tensorrt"]["mend"] == "pip install 'edgekd[tensorrt]'"


def test_doctor_names_what_is_wrong_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def version(name: str) -> str:
        if name == "mlxtend":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "torch" else metadata.version(name)

    monkeypatch.setattr(checkup, "version", version)
    (tmp_path / "file").touch()
    found = {finding.name: finding for finding in checkup.examine(tmp_path / "file" / "workspace")}
    assert found["torch"].state == "wrong"
    assert found["torch"].says == "1.0 is installed, <2.14,>=2.13 is needed"
    assert found["torch"].mend == "pip install 'torch<2.14,>=2.13'"
    assert found["[demo] mlxtend"].state == "absent"
    assert found["[demo] mlxtend"].mend == "pip install 'edgekd[demo]'"
    assert found["workspace"].state == "wrong"
    assert "--workspace" in found["workspace"].mend


def test_doctor_ends_with_6_where_something_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = edgekd("doctor", "--workspace", str(tmp_path / "file"), cwd=tmp_path)
    assert done.returncode == 6
    assert "WRONG  workspace" in done.stdout
