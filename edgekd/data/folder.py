"""Pictures in folders named by their classes."""

from __future__ import annotations

from pathlib import Path

from edgekd.data.listing import SPLITS, Listing, in_order
from edgekd.data.stages import FolderSource, Split
from edgekd.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def listing(source: FolderSource) -> Listing:
    top = Path(source.path)
    folders = sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))
    given = bool(folders) and all(path.name.lower() in SPLITS for path in folders)
    roots: list[tuple[Path, Split | None]] = [(top, None)]
    if given:
        roots = [(path, SPLITS[path.name.lower()]) for path in folders]
    found = [
        (path, path.relative_to(root).parts[0], split)
        for root, split in roots
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES and len(path.relative_to(root).parts) > 1 and path.is_file()
    ]
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
