"""``compare.json``: what ``python -m sweeps compare`` writes and the report reads; and its words."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.present import aligned, describe_warnings
from sweeps.records import OPTIONAL, Record
from sweeps.table.runs import Source


@dataclass(frozen=True)
class Judged(Record):
    """Strategy less baseline in one cell and metric."""

    baseline: float
    strategy: float
    """Means over the seeds that count."""
    difference: float
    low: float | None
    high: float | None
    p: float | None
    """Two-sided, of no difference; ``None`` with the interval where seeds are too few."""
    n: int
    """Pairs; 0 where nothing is paired."""
    df: float | None
    method: str
    """``paired``, ``unpaired`` (Welch 1947) or ``none``."""
    p_holm: float | None = None
    """Corrected over the cells."""
    better: str | None = None
    """``strategy`` or ``baseline`` where that is decided."""


@dataclass(frozen=True)
class Seeds(Record):
    """Which seeds were run."""

    shared: list[Any]
    baseline_only: list[Any]
    strategy_only: list[Any]


@dataclass(frozen=True)
class Line(Record):
    """One cell."""

    where: dict[str, Any]
    name: str
    baseline: str
    """Label of the baseline here."""
    omega: float | None
    """Of a baseline that keeps it."""
    seeds: Seeds
    by: dict[str, Judged]
    """By metric, and ``mean``."""
    strategy: str | None = field(default=None, metadata=OPTIONAL)
    """Label of the strategy, where several are compared."""


@dataclass(frozen=True)
class Change(Record):
    """How the difference between the strategies changes from one cell to another."""

    cell: str
    first: str
    """The cell that it is held against."""
    by: dict[str, Judged]
    """By metric, and ``mean``: ``baseline`` is the difference in the first cell, ``strategy`` in this one."""


@dataclass(frozen=True)
class Count(Record):
    """In how many cells each side is better, after correction."""

    strategy: int
    baseline: int
    undecided: int


@dataclass(frozen=True)
class CellRegret(Record):
    """What a policy loses in one cell; positive is worse than the best, in the metric's unit."""

    regret: float
    low: float | None
    high: float | None
    n: int
    df: float | None


@dataclass(frozen=True)
class Policy(Record):
    """Regret of one label."""

    worst: float | None
    worst_cell: str | None
    mean: float | None
    missing: list[str]
    """Cells that it was not run in."""
    cells: dict[str, CellRegret]


@dataclass(frozen=True)
class Verdict(Record):
    """Whether the strategy's worst regret is below that of every single ω that was run in all cells."""

    strategy_worst: float | None
    best_single: str | None
    best_single_worst: float | None
    better_than_any_single: bool | None


@dataclass(frozen=True)
class Against(Record):
    """Regrets against the best fixed ω of each cell, chosen in one way."""

    best: dict[str, str]
    """Cell -> label."""
    policies: dict[str, Policy]
    verdict: Verdict


@dataclass(frozen=True)
class Ways(Record):
    """Both ways to choose the best; ``None`` where it cannot be chosen."""

    reported: Against | None
    """By the metric that is reported."""
    dev: Against | None
    """On dev metrics."""

    def known(self, metric: str) -> dict[str, Against]:
        """Those that there are, by how the best was chosen."""
        ways = {f"chosen by {metric}": self.reported, "chosen on dev": self.dev}
        return {words: found for words, found in ways.items() if found is not None}


@dataclass(frozen=True)
class Regret(Record):
    """Regret of the strategy and of every fixed ω."""

    candidates: dict[str, float]
    """Label -> ω."""
    cells: list[str]
    by: dict[str, Ways]
    """By metric, and ``mean``."""

    def title(self, label: str) -> str:
        """The label, with its ω where that is not in its name."""
        return f"{label} (ω = 0)" if label == "standard" and label in self.candidates else label


@dataclass(frozen=True)
class Comparison(Record):
    """The whole record."""

    command: ClassVar[str] = "compare"

    baseline: str
    strategy: str
    """Label; several with commas between them."""
    metrics: list[str]
    by: list[str]
    level: float
    chosen_on: list[str] | None
    """What the baseline is chosen on in each cell, if it is."""
    correction: str
    cells: list[Line]
    counts: dict[str, Count]
    """By metric, and ``mean``."""
    regret: Regret | None
    warnings: list[Diagnostic]
    changes: list[Change] | None = field(default=None, metadata=OPTIONAL)
    """With ``--change``."""
    label_by: list[str] | None = field(default=None, metadata=OPTIONAL)
    """With ``--label-by``: columns that the labels state."""
    source: Source | None = field(default=None, metadata=OPTIONAL)

    @property
    def title(self) -> str:
        """``pareto less standard``; of several strategies their number."""
        labels = {line.strategy for line in self.cells} - {None}
        return f"{f'{len(labels)} strategies' if labels else self.strategy} less {self.baseline}"


def judged(found: Judged) -> str:
    """``-0.123 [-0.150, -0.096] p=.002*``; without seeds enough the difference alone."""
    text = f"{found.difference:+.4f}"
    if found.low is None:
        return text
    mark = "*" if found.better else " "
    return f"{text} [{found.low:+.4f}, {found.high:+.4f}] p={found.p_holm:.3f}{mark}"


def regret_rows(regret: Regret, name: str) -> list[list[str]]:
    """The worst and the mean regret of every policy in one metric, below a heading."""
    known = regret.by[name].known(name)
    rows = [["", *(part for words in known for part in (f"worst, {words}", "mean"))]]
    for label in next(iter(known.values())).policies if known else ():
        row = [regret.title(label)]
        for found in known.values():
            policy = found.policies[label]
            where = f" ({policy.worst_cell})" if policy.worst_cell else ""
            row += [_nats(policy.worst) + where, _nats(policy.mean)]
        rows.append(row)
    return rows


def verdict(strategy: str, words: str, against: Against) -> str:
    """Whether the strategy beats every single ω, in one sentence."""
    found = against.verdict
    if found.better_than_any_single is None:
        return f"{words}: no single ω was run in all cells, so there is nothing to hold {strategy} against"
    than = "below" if found.better_than_any_single else "not below"
    least = f"{found.best_single}, {_nats(found.best_single_worst)}"
    own = _nats(found.strategy_worst)
    return f"{words}: worst regret of {strategy} {own}, {than} that of every single ω (least: {least})"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def cell_rows(record: Comparison) -> tuple[int, list[list[str]]]:
    """How many columns say where a difference is, and the cells with their differences, below a heading."""
    names = list(record.counts)
    chosen = any(cell.baseline != record.baseline for cell in record.cells)
    rows = [["cell", *(["baseline"] if chosen else []), "pairs", *names]]
    for cell in record.cells:
        rows.append([cell.name, *([cell.baseline] if chosen else []), *_judged(cell.by, names)])
    return len(rows[0]) - len(names), rows


def change_rows(record: Comparison) -> list[list[str]]:
    """The changes from one cell to another, below a heading; three columns say where; empty without any."""
    names = list(record.counts)
    rows = [[change.cell, change.first, *_judged(change.by, names)] for change in record.changes or ()]
    return [["cell", "less cell", "pairs", *names], *rows] if rows else []


def _judged(by: dict[str, Judged], names: list[str]) -> list[str]:
    return [str(by[names[0]].n), *(judged(by[name]) for name in names)]


def describe(record: Comparison) -> list[str]:
    """Lines for the terminal: every cell, in how many which side is better, regrets, every warning."""
    lines = [
        f"{record.title}: mean difference over seeds, "
        f"{100 * record.level:g} % interval, p ({record.correction}), * decided"
    ]
    places, rows = cell_rows(record)
    lines += aligned(rows, left=places - 1)
    for name, count in record.counts.items():
        lines.append(
            f"{name}: better in {count.strategy} of {len(record.cells)} cells, worse in "
            f"{count.baseline}, undecided in {count.undecided}"
        )
    if changed := change_rows(record):
        lines += ["change of that difference from one cell to another:", *aligned(changed, left=2)]
    regret = record.regret
    for name, ways in regret.by.items() if regret else ():
        assert regret is not None
        cells = len(regret.cells)
        lines.append(f"regret in {name} against the best fixed ω of each of {cells} cells:")
        lines += aligned(regret_rows(regret, name), left=1)
        lines += [f"  {verdict(record.strategy, words, way)}" for words, way in ways.known(name).items()]
    return lines + describe_warnings(record.warnings)
