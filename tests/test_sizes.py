"""Functions and modules stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import REPOSITORY

LONGEST_FUNCTION = 60
"""Lines from ``def`` to the last statement, docstring included."""

LONGEST_MODULE = 350

MODULES = [
    path for package in ("retrieval", "sweeps") for path in sorted((REPOSITORY / package).rglob("*.py"))
]


def functions(path: Path) -> dict[str, int]:
    """Lines of every function of a module by its name."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {node.name: int(node.end_lineno or 0) - node.lineno + 1 for node in nodes}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(REPOSITORY)}: {name}": lines
        for path in MODULES
        for name, lines in functions(path).items()
        if lines > LONGEST_FUNCTION
    }
    assert long == {}


def test_no_module_is_long() -> None:
    lines = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}
