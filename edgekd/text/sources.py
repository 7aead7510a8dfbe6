"""Where text comes from: settings, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgekd.data.stages import Parts
from edgekd.engine.digest import digest_file, digest_tree
from edgekd.errors import ConfigError

TABLES = (".csv", ".jsonl", ".parquet")


class DocstringsSource(Parts):
    """
    Sentences of the docstrings of the standard library and of installed packages; `limit` takes so many of them.

    With `label: package` they are of the packages alone, and a sentence's class is the package that it stands in.
    """

    source: Literal["docstrings"] = "docstrings"
    packages: tuple[str, ...] = ()  # none: those that edgekd depends on
    label: Literal["package"] | None = None
    limit: int | None = Field(default=None, ge=10)

    def pinned(self) -> DocstringsSource:
        return self


class LinesSource(Parts):
    """A UTF-8 file with a text a line, without labels."""

    source: Literal["lines"]
    path: str
    digest: str | None = None  # filled in when the pipeline is read, as in all sources

    def pinned(self) -> LinesSource:
        return self.model_copy(update={"digest": _file(self.path)})


class TextTableSource(Parts):
    """A row a text, .csv, .jsonl or .parquet; a column with the class where there are classes, and one with splits."""

    source: Literal["text-table"]
    path: str
    text: tuple[str, ...] = ("text",)  # of several columns each row gives several texts, which share the row's label
    label: str | None = None
    split: str | None = None
    labels: tuple[str, ...] = ()  # the classes' names, where the column holds numbers
    digest: str | None = None

    def pinned(self) -> TextTableSource:
        if Path(self.path).suffix not in TABLES:
            raise ConfigError(f"data.path: {self.path}: a table of texts is {', '.join(TABLES)}")
        return self.model_copy(update={"digest": _file(self.path)})


class TextHuggingFaceSource(Parts):
    """A dataset for `datasets`: a hub name, or a folder that `save_to_disk` or `load_dataset` knows."""

    source: Literal["text-huggingface"]
    path: str
    config: str | None = None
    revision: str | None = None  # of a hub name: pin it, or the data may change from build to build
    text: tuple[str, ...] = ("text",)
    label: str | None = None
    digest: str | None = None

    def pinned(self) -> TextHuggingFaceSource:
        folder = Path(self.path)
        return self.model_copy(update={"digest": digest_tree(folder)}) if folder.is_dir() else self


TextSource = Annotated[
    DocstringsSource | LinesSource | TextTableSource | TextHuggingFaceSource, Field(discriminator="source")
]


def _file(path: str) -> str:
    if not Path(path).is_file():
        raise ConfigError(f"data.path: {path}: no such file")
    return digest_file(Path(path))
