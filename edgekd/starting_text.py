"""What `edgekd init --task` writes for text: the shipped pipeline of that task, with a person's data and teacher."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd import resources
from edgekd.data import table
from edgekd.data.look import COLUMNS
from edgekd.errors import ConfigError
from edgekd.settings import read_yaml
from edgekd.tasks import of_tree

TEXT = ("text", "sentence", "content", "question", "query", "document", "review", "comment", "title")
LABEL = (*COLUMNS["label"], "intent", "topic", "sentiment")


def drafted_text(task: str, data: str, teacher: str | None, target: str, name: str) -> tuple[str, str]:
    """The YAML text, which was read back and validates, and what was guessed. Raises EdgekdError."""
    source, told = _source(Path(data), task)
    text = resources.read("pipelines", task)
    rest = text.split("schema: 1\n", 1)[1]  # without what the shipped file says of itself
    rest = _with(rest, {"name": name, "data": source, "targets": f"[{json.dumps(target)}]"})
    rest = rest.replace(f"name: {task}-", f"name: {name}-")
    rest = re.sub(r"^  data(\.limit)?: .*\n", "", rest, flags=re.MULTILINE)  # what --quick reads of docstrings
    if teacher is not None:
        rest = rest.replace("from: all-MiniLM-L6-v2", f"from: {json.dumps(teacher, ensure_ascii=False)}", 1)
    made = f"# {name}: written by `edgekd init`; every other setting has a default.\nschema: 1\n{rest}"
    of_tree(read_yaml(made, f"{name}.yaml"), f"{name}.yaml")
    return made, told


def _with(text: str, given: Mapping[str, str]) -> str:
    """With these values of settings that stand at the top."""
    return "".join(
        f"{key}: {given[key]}\n" if (key := line.partition(":")[0]) in given else line
        for line in text.splitlines(keepends=True)
    )


def _source(path: Path, task: str) -> tuple[str, str]:
    """As YAML, and what was guessed."""
    if not path.is_file():
        raise ConfigError(f"--data {path}: no such file; text comes as .txt (a text a line), .csv, .jsonl or .parquet")
    where = json.dumps(str(path), ensure_ascii=False)
    if path.suffix == ".txt":
        if task == "text-classification":
            raise ConfigError(
                f"--data {path}: lines have no classes; give .csv, .jsonl or .parquet with a label column"
            )
        return f"{{source: lines, path: {where}}}", ""
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise ConfigError(f"--data {path}: text comes as .txt (a text a line), .csv, .jsonl or .parquet")
    columns = _columns(path)
    text = _one_of(path, columns, TEXT, "text")
    told, label = f"texts are taken from the column {text!r}", ""
    if task == "text-classification":
        found = _one_of(path, columns, LABEL, "label")
        label, told = f", label: {json.dumps(found)}", f"{told}, classes from {found!r}"
    return f"{{source: text-table, path: {where}, text: [{json.dumps(text)}]{label}}}", told


def _columns(path: Path) -> list[str]:
    if path.suffix != ".jsonl":
        return table.names_of(path)
    from edgekd.text.corpus import jsonl

    return list(jsonl(path))


def _one_of(path: Path, columns: Sequence[str], known: Sequence[str], what: str) -> str:
    found = next((column for name in known for column in columns if column.lower() == name), None)
    if found is None:
        raise ConfigError(
            f"--data {path}: which column has the {what}? It has {', '.join(columns)}; name it {known[0]!r}, or write "
            "the pipeline by hand (edgekd pipelines show)"
        )
    return found
