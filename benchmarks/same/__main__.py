"""Train and measure the same small cells at two commits and compare all they log and measure, to the bit."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from benchmarks.same.cells import CELLS, Cell, chosen
from benchmarks.same.collection import write_collection
from benchmarks.same.commits import WORKTREE, resolve, worktree
from benchmarks.same.compare import IGNORED, Values, differences
from benchmarks.same.running import Outcome, Side, started
from retrieval.errors import ConfigError
from retrieval.run.funnel import exit_status

ROOT = Path(__file__).resolve().parents[2]

MORE = f"""
A change of the code that should change no number is checked before it is committed:

  python -m benchmarks.same --base HEAD                   the files as they are against the last commit
  python -m benchmarks.same --base main --head my-branch  two commits
  python -m benchmarks.same --base HEAD --cells standard,pareto-loss
  python -m benchmarks.same --base HEAD --expect 'adv/*' --expect train/loss_rob
  python -m benchmarks.same --base HEAD --rename strategy.hard=strategy.mined

Each commit has a git worktree and a cache of its own in a temporary folder, so that the preparation of the
data is compared, too. A cell runs at both commits side by side, one thread each, on a CPU, in the installed
environment. Compared is every key of result.json and every value of metrics.jsonl, as written. Left out:
{", ".join(IGNORED)}.

The cells train on synthetic data and on BEIR folders that are written here; pydocs is left out, as its
preparation would take as long as many of them. Nearly all of the time goes into imports: about ten seconds of
processor time a cell and commit, three minutes for all on two idle cores.

Exit status: 0 equal (but for what --expect names), 1 something differs or a cell failed, 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = _parser().parse_args(arguments)
    if given.list:
        for cell in CELLS:
            print(f"{cell.name:15s} {cell.about}\n{'':15s} {' '.join(cell.arguments)}")
        return 0
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return exit_status(lambda: _run(given))
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(given: argparse.Namespace) -> int:
    if given.base is None:
        raise ConfigError("--base REV is needed; --help explains")
    cells = chosen(given.cells.split(",")) if given.cells else list(CELLS)
    return _compare(given.base, given.head, cells, given.expect, _renames(given.rename))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same",
        description=__doc__,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", metavar="REV", help="commit to compare with")
    parser.add_argument(
        "--head",
        metavar="REV",
        default=WORKTREE,
        help=f"commit to check; {WORKTREE} (default): the files as they are",
    )
    parser.add_argument("--cells", metavar="NAME,...", help="these cells, and those whose runs they read")
    parser.add_argument(
        "--expect", metavar="KEY_GLOB", action="append", default=[], help="keys that may differ; repeatable"
    )
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="a key of the configuration, or the beginning of keys, has another name at head; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="show the cells and their overrides, run nothing")
    return parser


def _renames(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.split("=") for one in given]
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise ConfigError(f"--rename {'='.join(pair)} is not OLD=NEW")
    return {pair[0]: pair[1] for pair in pairs}


def _compare(
    base: str, head: str, cells: Sequence[Cell], expected: Sequence[str], renames: Mapping[str, str]
) -> int:
    began = time.monotonic()
    commits = {"base": resolve(ROOT, base), "head": resolve(ROOT, head)}
    for name, commit in commits.items():
        print(f"{name} {commit.about}", flush=True)
    differing: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paretrieve-same-")))
        write_collection(folder / "collection")
        sides = []
        for name, commit in commits.items():
            tree = stack.enter_context(worktree(ROOT, commit, folder / f"{name}-tree"))
            own = renames if name == "head" else {}
            sides.append(Side(name, tree, folder / name, folder / "collection", own))
        for number, cell in enumerate(cells, 1):
            print(f"[{number}/{len(cells)}] {cell.name:15s} ", end="", flush=True)
            if not _equal(cell, sides, expected):
                differing.append(cell.name)
    verdict = f"{', '.join(differing)} differ" if len(differing) > 1 else f"{''.join(differing)} differs"
    print(f"{verdict if differing else 'equal'}: {len(cells)} cells, {time.monotonic() - began:.0f} s")
    return 1 if differing else 0


def _equal(cell: Cell, sides: Sequence[Side], expected: Sequence[str]) -> bool:
    """Run a cell and tell whether all is as it was, but for what is expected."""
    start = time.monotonic()
    with started(cell, sides) as running:
        base, head = (one.outcome() for one in running)
    lines, equal = report(base, head, expected)
    print(f"{lines[0]} ({time.monotonic() - start:.0f} s)")
    for line in lines[1:]:
        print(f"    {line}")
    sys.stdout.flush()
    return equal


def report(base: Outcome, head: Outcome, expected: Sequence[str]) -> tuple[list[str], bool]:
    """Lines about a cell, the first one its summary, and whether it is equal."""
    if isinstance(base, str) or isinstance(head, str):
        return ["not compared", *(one for one in (base, head) if isinstance(one, str))], False
    found = differences(base, head, expected)
    if not found:
        return [f"equal: {len(base)} values"], True
    surprising = sum(not one.expected for one in found)
    differ = "1 key differs" if surprising == 1 else f"{surprising} keys differ"
    summary = differ if surprising else "equal but for what is expected"
    return [f"{summary}, of {_keys(base, head)} keys", *map(str, found)], surprising == 0


def _keys(base: Values, head: Values) -> int:
    return len({*base.result, *head.result}) + len({*base.log, *head.log})


def _terminated(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
