"""Pictures of any source, decoded once into a dataset that is read by the rows asked for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import duplicates, pixels, split, tensors
from edgekd.data.listing import Listing
from edgekd.data.stages import (
    CodeSource,
    FolderSource,
    Geometry,
    HuggingFaceSource,
    LoadPictures,
    Pictures,
    Split,
    TableSource,
)
from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError, first_line
from edgekd.resources import cores

UNREADABLE_AT_MOST = 0.1  # of all: more is a fault of the source, not of a few files
TASK = 16  # pictures that a thread decodes at a time


def run(settings: LoadPictures, _inputs: Mapping[str, Artifact], work: Work) -> None:
    source = settings.data
    if source.pinned().digest != source.digest:
        raise DataError(f"{source.path}: changed while the build began; run it again")
    found = listed(source)
    decoded = decode(found, settings.geometry, source.channels, work.scratch, work.progress)
    labels = np.array([found.labels[number] for number in decoded.rows], np.int64)
    given = [found.splits[number] for number in decoded.rows]
    check_classes(source.path, labels, found.names)
    rows = split.by_shares(decoded.digests, labels, given, source, found.names)
    _write(work.out, decoded, labels, rows)
    near = duplicates.between(decoded.thumbnails, rows["train"], rows["test"])
    about = {
        "schema": 1,
        "labels": list(found.names),
        "image": [source.channels, *decoded.pixels.shape[1:3]],
        "splits": {name: len(chosen) for name, chosen in rows.items()},
        "digests": {name: split.digest(decoded.digests, chosen) for name, chosen in rows.items()},
        "rule": split.rule(given, source),
        "report": {
            "classes": {name: int((labels == n).sum()) for n, name in enumerate(found.names)},
            "sizes": decoded.sizes,
            "unreadable": [[found.told[number], why] for number, why in decoded.unreadable],
            "near_duplicates": [[found.told[decoded.rows[a]], found.told[decoded.rows[b]]] for a, b in near],
        },
    }
    (work.out / "dataset.json").write_text(json.dumps(about, indent=1), "utf-8")
    for sentence in sentences(about):
        work.progress.warn(sentence)


def listed(source: Pictures) -> Listing:
    """What a source holds; only its own reader is imported."""
    if isinstance(source, FolderSource):
        from edgekd.data import folder

        return folder.listing(source)
    if isinstance(source, TableSource):
        from edgekd.data import table

        return table.listing(source)
    if isinstance(source, HuggingFaceSource):
        from edgekd.data import huggingface

        return huggingface.listing(source)
    assert isinstance(source, CodeSource)
    from edgekd.data import code

    return code.listing(source)


@dataclass(frozen=True)
class Decoded:
    pixels: NDArray[np.uint8]  # [N, H, W, C], on disk
    rows: list[int]  # the number of each in the listing
    digests: list[str]  # sha256 of what was found
    thumbnails: NDArray[np.uint8]  # [N, 16, 16]
    sizes: dict[str, int]  # height x width before resizing -> how many, the most frequent first
    unreadable: list[tuple[int, str]]


def decode(found: Listing, geometry: Geometry, channels: int, scratch: Path, progress: Progress) -> Decoded:
    """All that can be decoded, in the listing's order, by as many threads as there are cores."""
    rows, digests, small, sizes = list[int](), list[str](), list[NDArray[np.uint8]](), Counter[str]()
    unreadable: list[tuple[int, str]] = []
    shape: tuple[int, ...] = ()
    path = scratch / "pixels"
    with path.open("wb") as file:
        for some in read_all(found, geometry.model_dump(), channels):
            if some.thumbnails is not None:
                small.append(some.thumbnails)
            for number, made in some.read:
                if isinstance(made, str):
                    unreadable.append((number, made))
                    continue
                sizes[made.size] += 1
                shape = shape or made.pixels.shape
                if made.pixels.shape != shape:
                    raise DataError(
                        f"{found.told[number]} is {made.size}, {found.told[rows[0]]} {shape[0]} x {shape[1]}: pictures "
                        "of several sizes need preprocess.resize (and crop), the size that the model reads"
                    )
                file.write(made.pixels.data)  # a mapped file costs three times as much, page by page
                rows.append(number)
                digests.append(made.digest)
            progress.step(some.read[-1][0] + 1, len(found.items), "picture")
    if not len(found.items):
        raise DataError("data: there are no pictures; give some of each class")
    if not rows or len(unreadable) > UNREADABLE_AT_MOST * len(found.items):
        number, why = unreadable[0]
        raise DataError(
            f"{len(unreadable)} of {len(found.items)} pictures cannot be read, the first is {found.told[number]}: {why}"
        )
    store = np.memmap(path, np.uint8, "r", shape=(len(rows), *shape))
    return Decoded(store, rows, digests, np.concatenate(small), dict(sizes.most_common()), unreadable)


def check_classes(where: str, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(f"{where}: has one class, {', '.join(names)}; two are needed")
    counts = np.bincount(labels, minlength=len(names))
    for name, count in zip(names, counts, strict=True):
        if count < 3:
            raise DataError(
                f"{where}: class {name!r} has {count} pictures; three are the least, one for each split: add some, or "
                "leave the class out"
            )


def sentences(about: Mapping[str, Any]) -> Iterator[str]:
    """What a person should know of the data before anything is trained on it."""
    report = about["report"]
    counts = report["classes"]
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    splits = ", ".join(f"{count} {name}" for name, count in about["splits"].items())
    yield f"{sum(counts.values())} pictures of {len(counts)} classes: {splits}"
    if counts[most] > 3 * counts[least]:
        yield f"classes are unbalanced: {counts[most]} of {most!r}, {counts[least]} of {least!r}"
    if len(report["sizes"]) > 1:
        (first, count), *others = report["sizes"].items()
        yield f"{len(others) + 1} sizes, most often {first} ({count}); all are resized to {_size(about)}"
    if report["unreadable"]:
        names = _some(name for name, _ in report["unreadable"])
        yield f"{len(report['unreadable'])} cannot be read and are left out: {names}"
    if near := report["near_duplicates"]:
        pairs = _some(f"{a} and {b}" for a, b in near)
        yield f"{len(near)} pictures of the test split are nearly in the training split, which flatters: {pairs}"


@dataclass(frozen=True)
class _Picture:
    pixels: NDArray[np.uint8]
    size: str  # before resizing
    digest: str  # of what was found: a file's bytes, or the pixels of what came as an array


@dataclass(frozen=True)
class _Some:
    """Of a row of numbers: the pictures, for what cannot be read why, and thumbnails of the others [n, 16, 16]."""

    read: list[tuple[int, _Picture | str]]
    thumbnails: NDArray[np.uint8] | None


def read_all(found: Listing, how: Mapping[str, Any], channels: int) -> Iterator[_Some]:
    """In the listing's order, some at a time: threads that meet for every single picture wait for each other."""

    def read(numbers: range) -> _Some:
        made = [(number, _read(found, number, how, channels)) for number in numbers]
        good = [picture.pixels for _, picture in made if not isinstance(picture, str)]
        return _Some(made, duplicates.thumbnails(good) if good else None)

    tasks = [range(start, min(start + TASK, len(found.items))) for start in range(0, len(found.items), TASK)]
    if not found.threads:
        yield from map(read, tasks)
        return
    with ThreadPoolExecutor(cores()) as pool:
        ahead = deque[Future[_Some]]()
        for numbers in tasks:
            ahead.append(pool.submit(read, numbers))
            if len(ahead) > 2 * cores():
                yield ahead.popleft().result()
        yield from (future.result() for future in ahead)


def _read(found: Listing, number: int, how: Mapping[str, Any], channels: int) -> _Picture | str:
    try:
        source = found.items[number]
        if isinstance(source, Path):
            source = source.read_bytes()
        made, size = pixels.read(source, how, channels)
    except (ValueError, OSError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a dataset of the person's may raise anything
        return f"{type(error).__name__}: {first_line(error)}"
    made = np.ascontiguousarray(made)
    content = source if isinstance(source, bytes) else made.tobytes()
    return _Picture(made, size, hashlib.sha256(content).hexdigest())


def _write(folder: Path, decoded: Decoded, labels: NDArray[np.int64], rows: Mapping[Split, NDArray[np.intp]]) -> None:
    wanted: dict[str, Any] = {}
    for name, chosen in rows.items():
        wanted[f"{name}.images"] = (np.uint8, (len(chosen), *decoded.pixels.shape[1:]))
        wanted[f"{name}.labels"] = (np.int64, (len(chosen),))
    filled = ((labels[chosen], (decoded.pixels[row] for row in chosen)) for chosen in rows.values())
    parts = [(image_rows, [numbers]) for numbers, image_rows in filled]
    tensors.write(folder / "data.safetensors", wanted, [part for pair in parts for part in pair])


def _size(about: Mapping[str, Any]) -> str:
    return " x ".join(map(str, about["image"][1:]))


def _some(names: Iterator[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
