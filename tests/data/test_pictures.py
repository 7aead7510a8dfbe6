"""Pictures from wherever a person has them: what is read, how it is split, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.listen import Said
from helpers.pictures import DRAW, load, picture, write_csv
from PIL import Image

from edgekd.data import duplicates, split, tensors
from edgekd.data.dataset import Dataset
from edgekd.data.listing import in_order
from edgekd.data.stages import (
    CodeSource,
    FolderSource,
    HuggingFaceSource,
    NpzSource,
    Parts,
    Preprocess,
    TableSource,
)
from edgekd.engine.digest import digest_tree
from edgekd.errors import DataError


def counts(data: Dataset) -> dict[str, list[int]]:
    return {name: np.bincount(data.split(name).labels).tolist() for name in ("train", "val", "test")}


def test_folders_are_classes_and_each_class_is_split_by_its_shares(photos: Path, tmp_path: Path) -> None:
    data = load(FolderSource(source="folder", path=str(photos), val_share=0.1, test_share=0.2), tmp_path)
    assert data.labels == ["cat", "dog"]
    assert data.image == (3, 8, 8)
    assert counts(data) == {"train": [14, 14], "val": [2, 2], "test": [4, 4]}
    assert "val 10%" in data.about["rule"]


def test_the_split_follows_content_and_seed_and_neither_names_nor_order(photos: Path, tmp_path: Path) -> None:
    def digests(seed: int) -> dict[str, str]:
        source = FolderSource(source="folder", path=str(photos), seed=seed)
        return load(source, tmp_path).about["digests"]  # type: ignore[no-any-return]

    first = digests(0)
    for number, path in enumerate(sorted((photos / "cat").iterdir())):
        path.rename(path.with_name(f"{97 * number % 31}-renamed.png"))
    assert digests(0) == first
    assert digests(1) != first
    assert len(set(first.values())) == 3


def test_given_splits_stay_and_a_missing_one_is_made_of_training_pictures(tmp_path: Path) -> None:
    for part, count in (("train", 12), ("test", 5)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                picture().save(tmp_path / "photos" / part / name / f"{number}.png")
    data = load(FolderSource(source="folder", path=str(tmp_path / "photos"), val_share=0.25), tmp_path)
    assert counts(data) == {"train": [9, 9], "val": [3, 3], "test": [5, 5]}
    assert data.about["rule"].startswith("given splits, and of the training pictures")


def test_what_cannot_be_read_is_left_out_and_named_and_imbalance_and_sizes_are_told(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for number in range(60):
        picture(14, 9).save(photos / "dog" / f"more-{number}.jpg")
    said = Said()
    data = load(FolderSource(source="folder", path=str(photos)), tmp_path, listener=said)
    told = "\n".join(said.sentences)
    assert "100 pictures of 2 classes" in told
    assert "1 cannot be read and are left out: cat/broken.png" in told
    assert "classes are unbalanced: 80 of 'dog', 20 of 'cat'" in told
    assert "2 sizes, most often 14 x 9 (60); all are resized to 8 x 8" in told
    assert data.about["report"]["unreadable"][0][0] == "cat/broken.png"


def test_a_source_of_which_much_cannot_be_read_is_refused(photos: Path, tmp_path: Path) -> None:
    for path in sorted((photos / "cat").iterdir())[:6]:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"6 of 40 pictures cannot be read, the first is cat/0\.png: not a picture"):
        load(FolderSource(source="folder", path=str(photos)), tmp_path)


def test_a_copy_that_was_resized_brightened_or_mirrored_is_a_near_duplicate() -> None:
    coarse = DRAW.integers(0, 256, (9, 6, 6, 3), np.uint8)
    smooth = [np.asarray(Image.fromarray(image).resize((64, 64))) for image in coarse]
    resized = np.asarray(Image.fromarray(smooth[0]).resize((50, 50)).resize((64, 64)))
    brighter = (smooth[1] * 0.97 + 7).astype(np.uint8)
    turned = np.asarray(Image.fromarray(smooth[3]).rotate(90))  # another picture, to whom it matters
    small = duplicates.thumbnails([*smooth, resized, brighter, smooth[2][:, ::-1], turned])
    found = duplicates.between(small, np.arange(9), np.arange(9, 13))
    assert found == [(9, 0), (10, 1), (11, 2)]


def test_equal_pixels_come_into_one_split() -> None:
    digests = [f"{number // 3:064d}" for number in range(60)]  # every picture three times
    labels = np.repeat([0, 1], 30)
    rows = split.by_shares(digests, labels, [None] * 60, Parts(), ("a", "b"))
    where = {row: name for name, chosen in rows.items() for row in chosen.tolist()}
    assert all(len({where[3 * group + n] for n in range(3)}) == 1 for group in range(20))


def test_what_comes_first_in_a_split_is_of_every_class(photos: Path, tmp_path: Path) -> None:
    data = load(FolderSource(source="folder", path=str(photos)), tmp_path)  # files come class by class
    assert 2 < data.split("train").labels[:10].sum() < 8
    labels = np.repeat(np.arange(2), 50)
    images = DRAW.integers(0, 256, (100, 4, 4, 1), np.uint8)
    assert 2 < labels[split.by_content(images, labels, 5, 5)["train"][:10]].sum() < 8


def test_the_first_samples_are_as_many_as_there_are(photos: Path, tmp_path: Path) -> None:
    data = load(FolderSource(source="folder", path=str(photos)), tmp_path)
    assert {len(array) for array in data.some("train", 7).values()} == {7}
    assert {len(array) for array in data.some("train", 10**6).values()} == {data.about["splits"]["train"]}


def test_an_archive_is_looked_at_as_well(tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (60, 12, 12, 3), np.uint8)
    labels = np.repeat([0, 1, 1, 1, 1, 1], 10)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    said = Said()
    source = NpzSource(
        source="npz", path=str(tmp_path / "a.npz"), labels=("cat", "dog"), val_per_class=2, test_per_class=3
    )
    data = load(source, tmp_path, Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3), said)
    assert data.about["report"]["classes"] == {"cat": 10, "dog": 50}
    assert len(set(data.about["digests"].values())) == 3
    assert "classes are unbalanced: 50 of 'dog', 10 of 'cat'" in said.sentences


def test_what_is_hidden_is_no_data(photos: Path, tmp_path: Path) -> None:
    before = digest_tree(photos)
    (photos / ".thumbs").mkdir()
    picture().save(photos / ".thumbs" / "a.png")
    (photos / "cat" / "._0.png").write_bytes(b"of another system")
    assert digest_tree(photos) == before
    data = load(FolderSource(source="folder", path=str(photos)), tmp_path)
    assert data.labels == ["cat", "dog"]
    assert data.about["report"]["unreadable"] == []


def test_numbers_without_names_are_classes_whatever_they_begin_with(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    rows = [
        ["image", "label"],
        *([p.relative_to(photos).as_posix(), str(7 + 95 * (n % 2))] for n, p in enumerate(files)),
    ]
    table = write_csv(photos / "all.csv", [*rows, []])  # and an empty line at the end
    assert load(TableSource(source="table", path=str(table)), tmp_path).labels == ["7", "102"]


def test_marks_that_tell_classes_apart_are_no_spelling() -> None:
    assert in_order("here", ["C", "C++", "C#", "1.5", "15"]) == ("1.5", "15", "C", "C#", "C++")
    with pytest.raises(DataError, match="'sea lion' and 'sea_lion' look like two spellings"):
        in_order("here", ["sea lion", "sea_lion"])


def test_a_table_of_paths_gives_what_its_folder_gives(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    rows = [["file", "kind", "part"], *([p.relative_to(photos).as_posix(), p.parent.name, "train"] for p in files)]
    for number in (1, 2, 25, 26):
        rows[number][2] = "test"
    table = write_csv(photos / "all.csv", rows)
    source = TableSource(source="table", path=str(table), image="file", label="kind", split="part")
    data = load(source, tmp_path)
    assert data.labels == ["cat", "dog"]
    assert counts(data)["test"] == [2, 2]
    before = source.pinned().digest
    picture().save(files[0])
    assert source.pinned().digest != before  # the table is as it was, a picture is not


def test_parquet_with_the_bytes_of_pictures_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def as_bytes() -> bytes:
        held = io.BytesIO()
        picture().save(held, "PNG")
        return held.getvalue()

    rows = {"image": [{"bytes": as_bytes(), "path": None} for _ in range(24)], "label": [0, 1] * 12}
    parquet.write_table(pyarrow.table(rows), tmp_path / "data.parquet")
    source = TableSource(source="table", path=str(tmp_path / "data.parquet"), labels=("cat", "dog"))
    assert load(source, tmp_path).labels == ["cat", "dog"]


def test_a_dataset_of_hugging_face_is_read_from_its_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [picture() for _ in range(24)], "label": [0, 1] * 12}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made, "validation": made.select(range(6))}).save_to_disk(str(tmp_path / "set"))
    data = load(HuggingFaceSource(source="huggingface", path=str(tmp_path / "set")), tmp_path)
    assert data.labels == ["cat", "dog"]
    assert counts(data)["val"] == [3, 3]
    assert sum(counts(data)["train"]) + sum(counts(data)["test"]) == 24


def test_a_pytorch_dataset_of_the_persons_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nclasses = ['cat', 'dog']\n"
        "def dataset(split):\n"
        "    draw = np.random.default_rng(len(split))\n"
        "    if split == 'test':\n        return None\n"
        "    return [(draw.integers(0, 256, (3, 9, 9), np.uint8), n % 2) for n in range(20)]\n"
    )
    data = load(CodeSource(source="code", path=str(tmp_path / "mine.py")), tmp_path)
    assert data.labels == ["cat", "dog"]
    assert counts(data)["val"] == [10, 10]
    assert data.image == (3, 8, 8)


def test_only_the_rows_that_are_asked_for_are_read(tmp_path: Path) -> None:
    x = np.zeros((1000, 64), np.uint8)
    x[7] = 5
    arrays: dict[str, Any] = {"x": (np.uint8, x.shape), "y": (np.int64, (3,)), "z": (np.float32, (0, 4))}
    tensors.write(tmp_path / "a.safetensors", arrays, [x, [np.array([1, 2, 3])], []])
    read = tensors.mapped(tmp_path / "a.safetensors")
    assert isinstance(read["x"], np.memmap)
    assert read["x"][7].tolist() == [5] * 64
    from safetensors.numpy import load_file

    other = load_file(tmp_path / "a.safetensors")
    assert all(np.array_equal(other[name], read[name]) for name in ("x", "y", "z"))


def test_a_tree_has_another_digest_with_another_name_or_byte(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").write_bytes(b"1")
    first = digest_tree(tmp_path / "t")
    (tmp_path / "t" / "a").rename(tmp_path / "t" / "b")
    second = digest_tree(tmp_path / "t")
    (tmp_path / "t" / "b").write_bytes(b"2")
    assert len({first, second, digest_tree(tmp_path / "t")}) == 3
