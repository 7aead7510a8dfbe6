"""English without a corpus: the sentences of docstrings, of the standard library and of installed packages."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from edgekd.errors import DataError

PACKAGES = (
    "accelerate", "numpy", "onnx", "onnxruntime", "onnxscript", "optuna", "pydantic", "scikit-learn", "scipy", "torch",
    "transformers",
)  # fmt: skip  # edgekd's own dependencies that say much
LARGEST_FILE = 400_000  # bytes: more is a table and no prose
WORDS = (4, 40)
LETTERS = 0.75  # of all characters: below it is a formula, or a signature
ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
CODE = re.compile(r"[`=<>{}\[\]|\\_@#*^~]|::|\.\.|https?:|\w\.\w|\w\(")
LABEL = re.compile(r"\w+:")  # Args: Returns: Note:
TESTS = re.compile(r"(^|/)(tests?|testing|idlelib|lib2to3|site-packages|__pycache__)(/|$)|(^|/)test_")


def sentences(packages: Sequence[str] = PACKAGES) -> tuple[list[str], dict[str, str]]:
    """
    Each sentence once, in an order of no meaning that is the same wherever the same versions are installed; and the
    versions. Nothing is imported: files are parsed.

    Raises DataError for a package that is not installed.
    """
    found: dict[str, str] = {}
    versions = {"python": sys.version.split()[0]}
    for sentence in _of_files(_library()):
        found.setdefault(sentence.lower(), sentence)
    for package in packages:
        installed = _installed(package)
        versions[package] = installed.version
        for sentence in _of_files(_files(installed)):
            found.setdefault(sentence.lower(), sentence)
    return sorted(found.values(), key=lambda text: hashlib.sha256(text.encode()).digest()), versions


def by_package(packages: Sequence[str]) -> tuple[list[str], list[int], dict[str, str]]:
    """
    Sentences of packages alone, the number of the package of each, and the versions: a classification for trying out.

    What two packages say alike is left out. Raises DataError for a package that is not installed.
    """
    found: dict[str, tuple[str, int]] = {}
    twice: set[str] = set()
    versions = {}
    for number, package in enumerate(packages):
        installed = _installed(package)
        versions[package] = installed.version
        for sentence in _of_files(_files(installed)):
            key = sentence.lower()
            if found.setdefault(key, (sentence, number))[1] != number:
                twice.add(key)
    kept = [one for key, one in found.items() if key not in twice]
    kept.sort(key=lambda one: hashlib.sha256(one[0].encode()).digest())
    return [text for text, _ in kept], [number for _, number in kept], versions


def _installed(package: str) -> Distribution:
    try:
        return distribution(package)
    except PackageNotFoundError:
        raise DataError(f"docstrings: {package} is not installed; leave it out of packages") from None


def _files(installed: Distribution) -> Iterator[Path]:
    names = sorted(str(name) for name in installed.files or () if name.suffix == ".py")
    return (Path(str(installed.locate_file(name))) for name in names if not TESTS.search(name))


def _library() -> Iterator[Path]:
    top = Path(sysconfig.get_path("stdlib"))
    for path in sorted(top.rglob("*.py")):
        if not TESTS.search(path.relative_to(top).as_posix()):
            yield path


def _of_files(paths: Iterator[Path]) -> Iterator[str]:
    for path in paths:
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            yield from of_source(path.read_text("utf-8", errors="ignore"))


def of_source(source: str) -> Iterator[str]:
    """The sentences of a module's docstrings; none where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                for sentence in ENDS.split(" ".join(paragraph.split())):
                    if is_prose(sentence):
                        yield sentence


def is_prose(sentence: str) -> bool:
    """Whether it is a sentence of plain words: begun, ended, neither too short nor too long, and without code."""
    if not sentence[:1].isalpha() or sentence[-1:] not in ".!?" or CODE.search(sentence[:-1]) or LABEL.match(sentence):
        return False
    letters = sum(map(str.isalpha, sentence)) + sentence.count(" ")
    return WORDS[0] <= len(sentence.split()) <= WORDS[1] and letters >= LETTERS * len(sentence)
