"""Runs the stages of a study and the commands that read its table."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retrieval.errors import ParetrieveError
from retrieval.run.resources import available_cores
from sweeps import PROGRAM
from sweeps.study import process
from sweeps.study.places import STEER, Places
from sweeps.study.provenance import collect_study
from sweeps.study.spec import Analysis, Scale, Stage, Study
from sweeps.table.files import read_table, write_table

REFUSED = 2
"""Exit status of a command whose table does not hold what it needs."""

USAGE = f"see {PROGRAM} --help"
"""How the line of a command ends whose own words are wrong, whatever the table holds."""

REPORT = "report --table {table} --records {records} --out {out} --formats svg --title"
"""Writes the page, last of all: it shows what the other commands wrote."""

ANALYSES = "analyses.csv"
"""Table of the commands and of what became of each."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    analysis: str
    outcome: str
    """``done``, ``refused`` or ``failed``."""
    reason: str
    command: str
    """With placeholders, so that it is the same wherever the files lie."""


def run_stages(scale: Scale, places: Places, extra: Sequence[str], say: Say) -> int:
    """Run every stage in its order; 0, or the exit status of the first that failed.

    Raises ParetrieveError: a command did not make the file that a later stage reads.
    """
    places.runs.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(scale.stages, start=1):
        say(f"stage {number} of {len(scale.stages)}: {stage.name}")
        status = (
            process.train(places.overrides(stage, extra)) if stage.overrides else _make(stage, places, say)
        )
        if status:
            say(f"stage {stage.name} ended with exit status {status}; the same command goes on from there")
            return status
    return 0


def _make(stage: Stage, places: Places, say: Say) -> int:
    made = places.made(stage)
    if made.exists():
        say(f"{made} is there; delete it to have it made anew")
        return 0
    made.parent.mkdir(parents=True, exist_ok=True)
    status, reason = process.sweeps([places.fill(word) for word in stage.command])
    if status:
        say(f"{stage.name}: {reason}")
    elif not made.exists():
        raise ParetrieveError(f"stage {stage.name} did not write {made}, which a later stage reads")
    return status


def collect_runs(places: Places, say: Say) -> None:
    """Write the table of finished runs, and keep what steered them; other runs are counted and named."""
    collected = collect_study(places.runs)
    write_table(collected.frame, places.table)
    for file in sorted(places.steer.glob("*.json")):
        (places.out / STEER).mkdir(exist_ok=True)
        shutil.copyfile(file, places.out / STEER / file.name)
    for run in collected.skipped:
        say(f"left out: {run.run}: {run.state} ({run.reason})")
    say(f"{collected.summary()}; wrote {places.table}")


def analyse(study: Study, scale: str | None, places: Places, say: Say) -> int:
    """Run the commands that read the table, then the report; 1 if one failed, else 0.

    A command that the table is not enough for is refused by name and reason. That is no failure, unless the
    same command was not refused before. ``scale``: of the runs in the table, ``None`` where it is not known:
    then every command is tried. As many run at once as there are cores, on one each.
    """
    before = _not_refused_before(places)
    places.records.mkdir(parents=True, exist_ok=True)
    shown = "".join(f" --where {shlex.quote(condition)}" for condition in study.page)
    if scale in study.scales:
        shown += f" --study {shlex.quote(f'{study.name} --scale {scale}')}"
    report = Analysis("report", f"{REPORT} {shlex.quote(study.title)}{shown}")
    outcomes = []
    for outcome in _outcomes(study.analyses_at(scale), report, places, before):
        say(f"{outcome.analysis}: {outcome.outcome}{f' ({outcome.reason})' if outcome.reason else ''}")
        outcomes.append(outcome)
    write_table(pd.DataFrame([vars(outcome) for outcome in outcomes]), places.out / ANALYSES)
    say(f"wrote {places.out / 'index.html'}")
    return int(any(outcome.outcome == "failed" for outcome in outcomes))


def _outcomes(
    analyses: Sequence[Analysis], report: Analysis, places: Places, before: Collection[str]
) -> Iterator[Outcome]:
    """Of every command in its order, and of the report, which reads what the others wrote."""
    with ThreadPoolExecutor(available_cores()) as pool:
        yield from pool.map(lambda one: _outcome(one, places, one.command in before), analyses)
    yield _outcome(report, places, report.command in before)


def _not_refused_before(places: Places) -> set[str]:
    """The commands that the last analysis of this folder did, or failed to do and did not refuse."""
    file = places.out / ANALYSES
    if not file.exists():
        return set()
    known = read_table(file)
    return set(known.loc[known["outcome"] != "refused", "command"])


def _outcome(analysis: Analysis, places: Places, expected: bool = False) -> Outcome:
    for word in analysis.records(written=True):
        # An earlier table's record would be taken for this one's if the command is refused now.
        Path(places.fill(word)).unlink(missing_ok=True)
    status, reason = process.sweeps([places.fill(word) for word in analysis.words])
    outcome = {0: "done", REFUSED: "refused"}.get(status, "failed")
    if not status:
        reason = ""  # what stands on standard error then are rows left out, which the record has, too
    elif outcome == "refused" and reason.endswith(USAGE):
        outcome = "failed"
    elif outcome == "refused" and expected:
        outcome, reason = "failed", f"it was not refused before and is now: {reason}"
    reason = reason.replace(str(places.table), "{table}").replace(f"{places.records}/", "{records}/")
    return Outcome(analysis.name, outcome, reason, analysis.command)
