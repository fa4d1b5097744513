"""Every command in README and docs is one that bash, Hydra and the command lines take; nothing is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from sweeps.cli import build
from sweeps.launch.compose import compose_command
from tests.conftest import REPOSITORY

PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))

PLACES = {"runs/RUN": "runs", "FOLDER-OR-HUB-ID": "model", "FOLDER": "folder", "DIR": "folder", "REV": "HEAD"}
"""What a reader puts in place of the words in capitals."""


def commands() -> Iterator[tuple[str, str]]:
    """Yield (page, command) of all blocks and of code within a line that starts with ``python``."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        blocks += re.findall(r"((?:^ {3,}\S.*\n)+)", text, re.MULTILINE)
        lines = [line for block in blocks for line in _joined(block) if line.startswith("python ")]
        lines += re.findall(r"`(python [^`]+)`", text)
        for line in dict.fromkeys(lines):
            if not re.search(r"…|\$|\.\.\.", line):
                yield page.name, line


def _joined(block: str) -> Iterator[str]:
    held = ""
    for line in block.splitlines():
        held = f"{held}\n{line.strip()}" if held else line.strip()
        if held.endswith("\\"):
            held = held[:-1].rstrip()
        elif held.count("'") % 2 == 0:
            yield " ".join(held.split("\n"))
            held = ""


ALL = list(commands())


def words(command: str) -> list[str]:
    """The words that bash hands over, with a globbing character in none that is not quoted."""
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", command.partition(" #")[0])
    assert not re.search(r"=\S*\[\S*:|[*?]", unquoted), "zsh would take it for a pattern of file names"
    subprocess.run(["bash", "-n", "-c", command], check=True)
    for place, value in PLACES.items():
        command = command.replace(place, value)
    return shlex.split(command, comments=True)


def test_there_are_commands_of_every_kind() -> None:
    for start in ("python train.py -m", "python -m sweeps fit", "python -m retrieval.evaluate"):
        assert any(command.startswith(start) for _, command in ALL), start


def hydras(command: str) -> bool:
    """Whether Hydra reads the words: those of train.py, of ``sweeps plan`` and of ``retrieval.evaluate``."""
    return command.startswith(("python train.py", "python -m sweeps plan"))


@pytest.mark.parametrize("command", dict.fromkeys(each for _, each in ALL if hydras(each)))
def test_hydra_composes_it(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells.csv").write_text("data.frac\n0.5\n")
    assert compose_command([each for each in words(command) if re.match(r"[+~]*[\w./]+=", each)])


@pytest.mark.parametrize(
    "command", dict.fromkeys(each for _, each in ALL if each.startswith("python -m sweeps"))
)
def test_the_command_line_takes_it(command: str) -> None:
    group = typer.main.get_command(build())
    name, *arguments = words(command)[3:]
    chosen = group.commands[name]  # type: ignore[attr-defined]
    chosen.make_parser(chosen.context_class(chosen, info_name=name)).parse_args(arguments)
