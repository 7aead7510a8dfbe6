"""
Make transformers' `from_pretrained(folder)` of its Auto classes know our models once edgekd is imported.

Registering needs transformers, which takes seconds to import and drags torch in; `import edgekd` must not. So we
register right away where transformers' Auto classes are already there, and else the moment somebody imports them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

AUTO = "transformers.models.auto.modeling_auto"


def install() -> None:
    if AUTO in sys.modules:
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    """The models' modules register at their ends; where one of them imports transformers, that is still to come."""
    import_module("edgekd.models.residual_cnn")
    import_module("edgekd.text.encoder")


class _Finder(MetaPathFinder):
    """Waits for one module, steps aside for all others."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != AUTO:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisterAfter(spec.loader)
        return spec


class _RegisterAfter(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register()
