"""
The README's table: `edgekd build digits` from an empty workspace, timed, then once more from the cache.

    python benchmarks/digits.py [--workspace DIR] [--out DIR]

Prints Markdown with hardware, versions, n and intervals. An interrupted run goes on where it stopped when it is
given the same --workspace; its total time is then not that of a whole build, and it says so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("edgekd", "torch", "torchao", "onnx", "onnxruntime", "transformers", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = arguments.workspace or Path(folder) / "workspace"
        out = arguments.out or Path(folder) / "dist"
        fresh = not workspace.exists()
        first, second = timed(workspace, out), timed(workspace, out)
        print((out / "digits" / "local-cpu" / "report.md").read_text("utf-8"))
    print(
        f"Whole build: {first:.0f} s{'' if fresh else ' (the workspace was not empty)'}; again: {second:.1f} s (n = 1)."
    )
    print(f"CPython {sys.version.split()[0]}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}.")


def timed(workspace: Path, out: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "edgekd", "build", "digits", "--workspace", str(workspace), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
