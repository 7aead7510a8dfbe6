"""From YAML to frozen pydantic models, with errors that say where (file, line, key) and what instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from edgekd.errors import ConfigError

T = TypeVar("T", bound=BaseModel)
Location = tuple[str | int, ...]
MAX_NODES = 20_000  # a pipeline has about a hundred; aliases that expand past this are a bomb


class Settings(BaseModel):
    """Frozen, strict, and closed: a key that nobody reads is an error and not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def read_yaml(text: str, where: str) -> Any:
    """The tree of a YAML 1.2 document, its mappings still knowing their lines (`.lc`)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        tree = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ConfigError(f"{where}:{line}: {_first_line(error.problem)}; keep one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{where}:{line}: not YAML: {_first_line(error.problem)}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: not YAML: {_first_line(str(error))}") from None
    if _nodes(tree, MAX_NODES) > MAX_NODES:
        raise ConfigError(f"{where}: its aliases expand to more than {MAX_NODES} values; write the values out")
    return tree


def validate(model: type[T], tree: Any, where: str) -> T:
    """Make a `model` of a tree read from `where`; every problem is one line of one ConfigError."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: expected a mapping of settings, got {tree!r}")
    try:
        text = json.dumps(tree, default=_refuse)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    try:
        # JSON mode: strict about scalars ("5" is no 5, true is no 1), lists may become tuples
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = _own(error.errors(include_url=False))
        raise ConfigError("\n".join(_sentence(model, tree, where, problem) for problem in problems)) from None


def _own(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without those that only follow: a list is too short once pydantic has left out what is wrong in it."""
    return [
        one
        for one in problems
        if one["type"] != "too_short"
        or not any(other is not one and other["loc"][: len(one["loc"])] == one["loc"] for other in problems)
    ]


def override(tree: Any, assignment: str) -> None:
    """Apply `distill.losses.0.temperature=2` (a YAML value) to a tree, in place."""
    path, sign, value = assignment.partition("=")
    if not sign or not path:
        raise ConfigError(f"--set {assignment}: write it as key.path=value")
    *parents, last = path.split(".")
    node = tree
    for depth, part in enumerate(parents):
        node = _child(node, part, ".".join(parents[: depth + 1]), assignment, make=True)
    parsed = read_yaml(value, f"--set {path}") if value.strip() else None
    if isinstance(node, list):
        _child(node, last, path, assignment, make=False)
        node[int(last)] = parsed
        _forget_line(node, int(last))
    elif isinstance(node, dict):
        node[last] = parsed
        _forget_line(node, last)
    else:
        raise ConfigError(f"--set {assignment}: {'.'.join(parents)} is {node!r}, which has no {last!r}")


def _child(node: Any, part: str, path: str, assignment: str, *, make: bool) -> Any:
    if isinstance(node, list):
        if not part.isdigit() or int(part) >= len(node):
            raise ConfigError(f"--set {assignment}: {path}: this list has the items 0 to {len(node) - 1}")
        return node[int(part)]
    if isinstance(node, dict):
        if make and node.get(part) is None:
            node[part] = {}
        return node[part]
    raise ConfigError(f"--set {assignment}: {path}: {node!r} has no keys")


def _sentence(model: type[BaseModel], tree: Any, where: str, problem: ErrorDetails) -> str:
    kind, value, loc = problem["type"], problem["input"], problem["loc"]
    place = _place(tree, loc, missing=kind == "missing")
    key = ".".join(map(str, place)) or "(top level)"
    line = _line(tree, place)
    start = f"{where}:{line}: {key}" if line else f"{where}: {key}"
    if kind == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        close = get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"{start}: no such setting; {hint}"
    if kind == "missing":
        return f"{start}: required, and not there"
    if kind == "union_tag_invalid":
        context = problem["ctx"]
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        close = get_close_matches(context["tag"], known, n=1)
        hint = f"did you mean {close[0]!r}? there are" if close else "there are"
        return f"{start}: no {context['tag']!r}; {hint} {', '.join(known)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return f"{start}: {message}"
    return f"{start}: expected {message.removeprefix('a valid ')}, got {value!r}"


def _place(tree: Any, loc: Location, *, missing: bool) -> Location:
    """The path as the person wrote it: pydantic's also names the member of a union, which is no key."""
    node, place = tree, []
    for depth, step in enumerate(loc):
        is_absent_key = missing and depth == len(loc) - 1
        if isinstance(node, Mapping) and step not in node and not is_absent_key:
            continue
        place.append(step)
        node = _get(node, step)
    return tuple(place)


def _known_keys(model: type[BaseModel], loc: Location) -> list[str]:
    models = [model]
    for step in loc:
        inner = [f.annotation for m in models for name, f in m.model_fields.items() if step in (name, f.alias)]
        if inner:
            models = [m for annotation in inner for m in _models_in(annotation)]
        else:
            models = [m for m in models if step in _tags(m)] or models
    return sorted({field.alias or name for m in models for name, field in m.model_fields.items()})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _tags(model: type[BaseModel]) -> list[object]:
    """The values by which a discriminated union tells this model from its siblings."""
    return [
        tag
        for name in ("name", "source", "kind")
        if name in model.model_fields
        for tag in get_args(model.model_fields[name].annotation)
    ]


def _get(node: Any, step: str | int) -> Any:
    if isinstance(node, Mapping):
        return node.get(step)
    if isinstance(node, Sequence) and not isinstance(node, str) and isinstance(step, int) and step < len(node):
        return node[step]
    return None


def _line(tree: Any, place: Location) -> int | None:
    """The line of the deepest key on the way to `place` that the file has."""
    node, line = tree, None
    for step in place:
        positions = getattr(getattr(node, "lc", None), "data", None) or {}
        if step in positions:
            if positions[step] is None:
                return None
            line = positions[step][0] + 1
        node = _get(node, step)
    return line


def _forget_line(node: Any, key: str | int) -> None:
    """What --set put there stands in no line of the file."""
    positions = getattr(getattr(node, "lc", None), "data", None)
    if positions is not None:
        positions[key] = None


def _nodes(tree: Any, limit: int) -> int:
    """How many values the tree has with its aliases expanded; stops counting just past `limit`."""
    count, todo = 0, [tree]
    while todo and count <= limit:
        node = todo.pop()
        count += 1
        if isinstance(node, Mapping):
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
    return count


def _refuse(value: object) -> object:
    raise TypeError(f"{value!r} ({type(value).__name__}) is no setting; quote it if it is text")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text and text.strip() else "unreadable"
