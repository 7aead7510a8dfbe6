"""Where a workspace is: --workspace, else EDGEKD_HOME, else the platform's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def default_workspace() -> Path:
    if home := os.environ.get("EDGEKD_HOME"):
        return Path(home)
    from platformdirs import user_cache_path

    return user_cache_path("edgekd", appauthor=False)
