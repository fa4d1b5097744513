"""Imports run one way: the layers of ``retrieval`` and ``sweeps`` as the design draws them, and no cycle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

RETRIEVAL = (
    "codes",
    "errors",
    "config",
    "run",
    "data",
    "opened",
    "models",
    "search",
    "evaluation",
    "training",
    "pipeline",
)
"""Each imports only itself and what stands before it; the entry points come after ``pipeline``."""

ENTRY_POINTS = ("run_one", "worker", "evaluate")

SWEEPS = (
    "codes",
    "diagnostics",
    "records",
    "table",
    "fitting",
    "frontier",
    "comparison",
    "efficiency",
    "mixture",
    "robustness",
    "report",
    "launch",
    "study",
    "commands",
    "cli",
    "__main__",
)

READS_ONLY = ("codes", "errors", "config", "run")
"""What the rooms of ``sweeps`` that only read run directories may import from ``retrieval``."""


def _modules(package: str) -> dict[str, Path]:
    paths = sorted((REPOSITORY / package).rglob("*.py"))
    names = (path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".") for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the project that a file imports anywhere, also within functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules or {node.module}
    return {name for name in found if name.partition(".")[0] in ("retrieval", "sweeps", "train", "tests")}


MODULES = _modules("retrieval") | _modules("sweeps")
GRAPH = {name: _imports(path, set(MODULES)) & set(MODULES) for name, path in MODULES.items()}
EDGES = sorted((module, target) for module, targets in GRAPH.items() for target in targets)


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def _rank(layers: tuple[str, ...], module: str) -> int:
    room = _room(module)
    if room in ENTRY_POINTS and layers is RETRIEVAL:
        return len(layers)
    assert not room or room in layers, f"{module} stands in no layer; layers: {', '.join(layers)}"
    return layers.index(room) if room else -1


def _above(package: str, layers: tuple[str, ...]) -> list[tuple[str, str]]:
    inner = [edge for edge in EDGES if all(module.startswith(package) for module in edge)]
    return [(module, target) for module, target in inner if _rank(layers, target) > _rank(layers, module)]


def test_retrieval_never_imports_sweeps() -> None:
    assert [edge for edge in EDGES if edge[0].startswith("retrieval") and edge[1].startswith("sweeps")] == []


@pytest.mark.parametrize(("package", "layers"), [("retrieval", RETRIEVAL), ("sweeps", SWEEPS)])
def test_layers_import_only_what_stands_before_them(package: str, layers: tuple[str, ...]) -> None:
    for module in MODULES:
        if module.startswith(package):
            _rank(layers, module)
    assert _above(package, layers) == []


def test_reading_rooms_import_no_training_code() -> None:
    reading = set(SWEEPS) - {"launch", "study", "commands", "cli", "__main__"}
    wrong = [
        (module, target)
        for module, target in EDGES
        if module.startswith("sweeps") and _room(module) in reading
        if target.startswith("retrieval.") and _room(target) not in READS_ONLY
    ]
    assert wrong == []


def test_no_cycle_between_modules() -> None:
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        if module in path:
            pytest.fail("cycle: " + " -> ".join([*path[path.index(module) :], module]))
        if module not in done:
            path.append(module)
            for target in sorted(GRAPH[module] - {module}):
                if not module.startswith(f"{target}."):  # a module may name its own package
                    visit(target)
            path.pop()
            done.add(module)

    for module in MODULES:
        visit(module)


def test_entry_point_imports_little() -> None:
    targets = _imports(REPOSITORY / "train.py", set(MODULES))
    assert {_room(target) for target in targets} <= {"config", "errors", "run", "run_one"}


def test_the_reader_sees_imports(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "def f():\n    from retrieval.run import files\n    import sweeps.errors\n    import json\n"
    )
    assert _imports(file, {"retrieval.run.files"}) == {"retrieval.run.files", "sweeps.errors"}
