"""Where temporary files go while something runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from edgekd.engine.workspace import temporary_files_in


def test_a_workspace_beside_the_caller_takes_files_from_wherever_a_library_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ONNX Runtime's preparation does, which works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    (tmp_path / "other").mkdir()
    with temporary_files_in(Path("ws")):
        monkeypatch.chdir(tmp_path / "other")
        with tempfile.TemporaryDirectory() as folder:
            assert Path(folder).parent == tmp_path / "ws" / "tmp"
        assert Path(os.environ["TMPDIR"]) == tmp_path / "ws" / "tmp"
    assert (os.environ.get("TMPDIR"), tempfile.tempdir) == before
