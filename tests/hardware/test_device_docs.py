"""Every command of the pages on devices is one that edgekd takes, and every page says what was verified."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from edgekd.cli.app import app
from edgekd.hardware.profile import load_profile

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "devices").glob("*.md"))
COMMANDS = [line for page in PAGES for line in page.read_text("utf-8").splitlines() if line.startswith("edgekd ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_docs_is_understood(line: str) -> None:
    command, words = get_command(app), shlex.split(line)[1:]
    while commands := getattr(command, "commands", None):
        command, words = commands[words[0]], words[1:]
    target = command.make_context("edgekd", words).params.get("target")
    for name in [target] if isinstance(target, str) else list(target or ()):
        load_profile(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_was_verified_and_what_was_not(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "## There" in text
    assert "## Verified" in text
    assert "Not verified: any" in text or "No phone was at hand" in text or "Not verified: a GPU" in text


def test_every_page_is_found_from_the_first() -> None:
    first = (DOCS / "devices.md").read_text("utf-8")
    assert len(PAGES) == 7
    assert all(f"(devices/{page.name})" in first for page in PAGES)
