"""Classes of a teacher and of the data, brought together by their names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from edgekd.errors import ConfigError


def in_order_of(wanted: Sequence[str], known: Sequence[str]) -> tuple[int, ...]:
    """
    For each class of the data, its number among the teacher's. Names count as written, else without case and marks.

    Raises ConfigError where the teacher does not know one; that it knows more is no fault.
    """
    if twice := [name for number, name in enumerate(known) if name in known[:number]]:
        raise ConfigError(
            f"teacher.from: two of its classes are called {twice[0]!r}; name them apart in teacher.labels"
        )
    exact = {name: number for number, name in enumerate(known)}
    loose: dict[str, list[int]] = {}
    for number, name in enumerate(known):
        loose.setdefault(_bare(name), []).append(number)
    found = []
    for name in wanted:
        alike = loose.get(_bare(name), [])
        if name in exact:
            found.append(exact[name])
        elif len(alike) == 1:
            found.append(alike[0])
        else:
            close = get_close_matches(name, known, n=1)
            hint = f"; it has {close[0]!r}" if close else ""
            raise ConfigError(
                f"teacher.from: does not know the class {name!r} of the data{hint}. It answers with {_few(known)}; the "
                f"data has {_few(wanted)}. teacher.labels says what its answers are, in their order"
            )
    return tuple(found)


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
