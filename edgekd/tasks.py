"""A pipeline of any task: of images, or of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd import resources
from edgekd.errors import ConfigError
from edgekd.formats import upgraded
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.settings import override, read_yaml, validate
from edgekd.text.plans import TASKS, AnyTextPipeline, ClassifierPipeline, EmbeddingPipeline

AnyPipeline = Pipeline | AnyTextPipeline


def load(name: str, assignments: Sequence[str] = (), *, quick: bool = False) -> AnyPipeline:
    """
    A shipped pipeline by name, or a person's own by a path ending in .yaml; then what its `student` says, then `quick`,
    then `key.path=value`.
    """
    tree = read_yaml(resources.read("pipelines", name), name)
    if isinstance(tree, dict):
        for assignment in assignments:
            if assignment.startswith("student="):
                override(tree, assignment)
        _apply(tree, _preset(tree, name))
        _apply(tree, tree.get("quick") if quick else None)
    for assignment in assignments:
        override(tree, assignment)
    if isinstance(tree, dict) and name.endswith((".yaml", ".yml")):
        tree.setdefault("name", Path(name).stem.lower())
    return of_tree(tree, name)


def of_tree(tree: Any, where: str) -> AnyPipeline:
    """A pipeline from a tree of any schema and task, its files found and their contents pinned by digest."""
    task = tree.get("task") if isinstance(tree, dict) else None
    kind = TASKS.get(task) if isinstance(task, str) else None
    if kind is None:
        return pipeline_of(tree, where)
    found = validate(kind, upgraded("pipeline", tree, where), where)
    more: dict[str, Any] = {"data": found.data.pinned()}
    if isinstance(found, EmbeddingPipeline) and found.pairs is not None:
        more["pairs"] = found.pairs.pinned()
    if isinstance(found, ClassifierPipeline) and found.general is not None:
        more["general"] = found.general.pinned()
    return found.model_copy(update=more)


def _preset(tree: dict[str, Any], name: str) -> dict[str, Any] | None:
    chosen, known = tree.get("student"), tree.get("students")
    if chosen is None or not isinstance(known, dict):
        return None
    if chosen not in known:
        raise ConfigError(f"{name}: student: {chosen!r} is none of students: {', '.join(map(str, known))}")
    return known[chosen]  # type: ignore[no-any-return]


def _apply(tree: dict[str, Any], settings: Any) -> None:
    for key, value in settings.items() if isinstance(settings, dict) else ():
        override(tree, f"{key}={value}")
