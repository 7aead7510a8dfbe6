"""The one file that goes to the device: edgekd's own measuring modules in a zip that Python runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

MODULES = (
    "errors.py", "data/arrays.py", "hardware/runtime.py", "hardware/inputs.py", "hardware/measure/worker.py",
    "hardware/measure/alone_worker.py", "hardware/measure/answers_worker.py", "hardware/measure/counters.py",
    "hardware/measure/process.py", "hardware/answering.py", "hardware/sysfs.py",
    "hardware/runtimes/onnxruntime.py", "hardware/runtimes/openvino.py", "hardware/runtimes/litert.py",
)  # fmt: skip
PACKAGES = ("", "data/", "hardware/", "hardware/measure/", "hardware/runtimes/")
INSTEAD = {"edgekd/hardware/specs.py": "device_specs.py", "__main__.py": "device_main.py"}
WHEN = (1980, 1, 1, 0, 0, 0)  # the same modules give the same bytes


def write_runner(out: Path) -> None:
    """Needs numpy and the runtime there, and no pydantic: `device_specs` reads what was validated here."""
    root = Path(__file__).parents[2]
    texts = {f"edgekd/{package}__init__.py": "" for package in PACKAGES}
    texts |= {f"edgekd/{name}": (root / name).read_text("utf-8") for name in MODULES}
    texts |= {name: (Path(__file__).parent / source).read_text("utf-8") for name, source in INSTEAD.items()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as runner:
        for name, text in sorted(texts.items()):
            runner.writestr(zipfile.ZipInfo(name, WHEN), text, zipfile.ZIP_DEFLATED)
