from __future__ import annotations

from helpers.board import board

__all__ = ["board"]
