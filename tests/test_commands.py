"""A forked command is what a new interpreter would be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import commands

SHOWN = """
import os, sys
print(sys.argv, __name__, os.getcwd(), os.environ["COLOUR"], sorted(os.environ), repr(sys.stdin.read()))
print([part for part in sys.path if "site-packages" not in part], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", SHOWN, "a", "-m"),
        ("-m", "placed.shown", "a b"),
        ("placed/shown.py", "--x"),
        ("-c", "raise SystemExit(5)"),
        ("-c", "raise SystemExit('said')"),
        ("-c", "import atexit, sys; atexit.register(print, 'last'); sys.exit()"),
        ("-c", "import os; os.kill(os.getpid(), 9)"),
        ("-c", "import retrieval, sys; print(retrieval.__path__)"),
    ],
    ids=str,
)
def test_a_forked_command_is_a_new_interpreter(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "placed").mkdir()
    (tmp_path / "placed" / "shown.py").write_text(SHOWN)
    (tmp_path / "retrieval").mkdir()
    (tmp_path / "retrieval" / "__init__.py").write_text("")
    places = os.pathsep.join([str(tmp_path / "more"), "relative"])
    environment = {"COLOUR": "red", "PYTHONPATH": places, "LC_ALL": "C.UTF-8"}
    expected = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = commands.run(*arguments, folder=tmp_path, environment=environment)
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr == expected.stderr


def test_an_error_is_a_traceback_and_status_1(tmp_path: Path) -> None:
    found = commands.run("-c", "1 / 0", folder=tmp_path, environment={})
    assert found.returncode == 1
    assert found.stderr.endswith("ZeroDivisionError: division by zero\n")
