"""Pictures of the pages that people read first are there on a fresh checkout."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def tracked() -> set[Path]:
    """The files that a clone has, or all where this is no clone."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines()
    if listed.returncode or not names:
        pytest.skip("no git checkout")
    return {(REPOSITORY / name).resolve() for name in names}


def test_every_picture_is_in_the_repository() -> None:
    known = tracked()
    shown = {
        (page.relative_to(REPOSITORY).as_posix(), link): (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert shown
    assert [where for where, path in shown.items() if path not in known] == []
