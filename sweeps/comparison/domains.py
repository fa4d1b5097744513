"""What each robust-training domain brings to each test domain: a matrix of differences, paired by seed."""

from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd

from retrieval.errors import ConfigError, DataError
from sweeps.comparison.cells import difference, without_seed
from sweeps.comparison.record import Judged
from sweeps.diagnostics import Diagnostic, require_columns
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import label_runs, labelled_only, require_labels
from sweeps.fitting.present import aligned, describe_warnings
from sweeps.records import OPTIONAL, Record
from sweeps.table.cells import seeds_of, texts_of, with_numbers, with_values
from sweeps.table.families import FAMILY, FIRST_STAGE
from sweeps.table.runs import Source, ood_domains

TRAINED_ON = "data/robust"
"""Column with the robust-training domains of a run's suite."""

IN_DOMAIN = "in-domain"


@dataclass(frozen=True)
class Effect(Record):
    """Strategy less baseline on one test domain."""

    train: str
    """Robust-training domains of the strategy's runs."""
    test: str
    judged: Judged


@dataclass(frozen=True)
class Domains(Record):
    """``domains.json``."""

    command: ClassVar[str] = "domains"
    baseline: str
    strategy: str
    metric: str
    level: float
    effects: list[Effect]
    source: Source | None = None
    warnings: list[Diagnostic] | None = field(default=None, metadata=OPTIONAL)
    """Of runs that were left out."""

    def tests(self) -> list[str]:
        """Test domains, in the order of the table."""
        return list(dict.fromkeys(effect.test for effect in self.effects))

    def matrix(self) -> dict[str, dict[str, Judged]]:
        """Training domain -> test domain -> effect, in the order of the table."""
        found: dict[str, dict[str, Judged]] = {}
        for effect in self.effects:
            found.setdefault(effect.train, {})[effect.test] = effect.judged
        return found


def domains(runs: pd.DataFrame, baseline: str, strategy: str, metric: str, level: float) -> Domains:
    """The effect of a strategy by what it was trained on and what it is tested on.

    Args:
        runs: Rows with the columns of ``result.json``, of one model and one fraction of the data.
        baseline, strategy: Labels of the report. The baseline is trained on in-domain pairs alone, so its
            runs count whatever the robust-training domains of their suite are.
        metric: Last part of the keys that are compared, such as ``contrastive_entropy``.
        level: Of the intervals.

    Raises ConfigError: several models or fractions, or a label that no run has; TableError: no column
    ``data/robust``; DataError: a test set that is not the same in all runs, several families, or nothing to
    compare.
    """
    require_columns(runs, TRAINED_ON)
    for column in ("model", "frac"):
        found = sorted(set(texts_of(runs[column])) - {""}) if column in runs else []
        if len(found) > 1:
            values = ", ".join(found)
            raise ConfigError(f"{column} is one of {values}; keep one by --where {column}=VALUE")
    refuse_mixtures(runs, metric, columns=(FAMILY, FIRST_STAGE))
    labelled = label_runs(runs)
    require_labels(labelled, baseline, strategy)
    tests = {IN_DOMAIN: f"eff/{metric}"}
    tests |= {name: f"ood/{name}/{metric}" for name in ood_domains(labelled, metric)}
    effects = []
    labelled, unknown = labelled_only(labelled)
    own, left = with_values(labelled[labelled["label"] == strategy], [TRAINED_ON])
    for train, part in own.groupby(TRAINED_ON):
        for test, key in tests.items():
            rows, lacking = with_numbers(pd.concat([labelled[labelled["label"] == baseline], part]), [key])
            left += [one for one in lacking if one not in left]
            _check_one_test(rows, test)
            seeds = seeds_of(rows)
            first, second = (
                rows.loc[rows["label"] == name, key].groupby(seeds).mean() for name in (baseline, strategy)
            )
            if len(first) and len(second):
                effects.append(Effect(str(train), test, difference(first, second, level)))
    if not effects:
        raise DataError(
            f"no run of {strategy} says what it was trained on ({TRAINED_ON}) and has {metric} beside a run "
            f"of {baseline}"
        )
    said = [*(one.finding for one in (*unknown, *left)), *without_seed(own)]
    return Domains(baseline, strategy, metric, level, effects, warnings=said or None)


def _check_one_test(rows: pd.DataFrame, test: str) -> None:
    prefix = "eval/" if test == IN_DOMAIN else f"eval/{test}/"
    for column in (f"{prefix}queries", f"{prefix}pool"):
        if column in rows and rows[column].nunique() > 1:
            raise DataError(f"{test}: {column} differs between the runs; compare runs with one test set")


def matrix_rows(found: Domains) -> list[list[str]]:
    """The matrix as text, its headings first."""
    matrix, tests = found.matrix(), found.tests()
    rows = [["trained on", *tests]]
    for train, effects in matrix.items():
        rows.append([train, *(_cell(effects[test]) if test in effects else "" for test in tests)])
    return rows


def describe(found: Domains) -> list[str]:
    """The matrix as lines for the terminal."""
    width = f"half of the {100 * found.level:g} % interval"
    return [
        f"{found.metric}, {found.strategy} less {found.baseline} ({width}):",
        *aligned(matrix_rows(found), left=1),
        *describe_warnings(found.warnings or ()),
    ]


def _cell(judged: Judged) -> str:
    text = f"{judged.difference:+.3f}"
    if judged.low is None or judged.high is None:
        return text
    return f"{text} ± {(judged.high - judged.low) / 2:.3f}"
