"""Which files a model consists of."""

from __future__ import annotations

from pathlib import Path


def parts_of(path: Path) -> list[Path]:
    """Every file that the model consists of: OpenVINO's weights, ONNX's external data."""
    parts = {path}
    if path.suffix == ".xml":
        parts.add(path.with_suffix(".bin"))
    if path.suffix == ".onnx":
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data

        tensors = onnx.load(path, load_external_data=False).graph.initializer
        named = {path.parent / ExternalDataInfo(t).location for t in tensors if uses_external_data(t)}
        parts |= {
            part for part in named if part.resolve().is_relative_to(path.parent.resolve())
        }  # ONNX allows no other
    return sorted(parts)
