"""Pictures in folders named by their classes."""

from __future__ import annotations

from pathlib import Path

from edgekd.data.listing import SPLITS, Listing, in_order
from edgekd.data.stages import FolderSource, Split
from edgekd.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def listing(source: FolderSource) -> Listing:
    top = Path(source.path)
    files = pictures_in(top)
    heads = sorted({path.relative_to(top).parts[0] for path in files if len(path.relative_to(top).parts) > 1})
    named = [head for head in heads if head.lower() in SPLITS]
    if named and len(named) < len(heads):
        other = next(head for head in heads if head not in named)
        raise DataError(f"{top}: {named[0]!r} is a split and {other!r} is none; keep either splits or classes there")
    found: list[tuple[Path, str, Split | None]] = []
    for path in files:
        parts = path.relative_to(top).parts
        split = SPLITS[parts[0].lower()] if named and len(parts) > 1 else None
        if len(parts) > (2 if named else 1):
            found.append((path, parts[1] if named else parts[0], split))
    if not found:
        raise DataError(f"{top}: no pictures in folders; put them into {top}/<class>/, or {top}/train/<class>/")
    names = in_order(str(top), [name for _, name, _ in found])
    number = {name: n for n, name in enumerate(names)}
    return Listing(
        items=[path for path, _, _ in found],
        told=[path.relative_to(top).as_posix() for path, _, _ in found],
        labels=[number[name] for _, name, _ in found],
        names=names,
        splits=[split for _, _, split in found],
    )


def pictures_in(top: Path) -> list[Path]:
    """All files with a picture's ending below a folder, in the order of their names; what is hidden stays out."""
    return sorted(
        path
        for path in top.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(top).parts)
        and path.is_file()
    )
