"""How OpenMP's threads wait is set before PyTorch is loaded, and not where the person said how."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from retrieval.run.waiting import SPINS, wait_asleep
from tests.conftest import REPOSITORY

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_what_the_person_set_stands(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_asleep()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


@pytest.mark.parametrize("program", ["train", "sweeps.cli"])
def test_the_programs_set_it_before_pytorch(program: str) -> None:
    code = f"""
import os, sys
from {program} import main
sys.argv[1:] = ["--help"]
try:
    main()
except SystemExit:
    pass
assert "torch" not in sys.modules
print(os.environ["GOMP_SPINCOUNT"])
"""
    environment = {key: value for key, value in os.environ.items() if key not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == [SPINS], done.stderr
