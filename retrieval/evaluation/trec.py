"""Files of TREC, with which trec_eval and its like check a measurement: qrels in, runs out.

A line of a qrels file is ``qid 0 docid rel``, one of a run ``qid Q0 docid rank score tag``, with white space
between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from retrieval.data.collection import Collection
from retrieval.data.records import decode, grade, refuse
from retrieval.data.testset import EvaluationSet
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.one_set import SetScores
from retrieval.evaluation.roles import evaluation_split
from retrieval.run.files import write_text
from retrieval.search.ranking import Ranking

PLACE = "{collection}"
"""Stands for the name of a collection in the name of a run file."""


def read_qrels(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line number, query id, passage id and grade of each line of a TREC qrels file.

    Raises:
        DataError: a line has not four columns, or a grade that is no integer.
    """
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            columns = decode(raw, path, line).split()
            if len(columns) != 4:
                layout = "a line of TREC qrels is: qid 0 docid rel"
                refuse(path, line, f"{len(columns)} column(s); {layout}{_hint(columns)}")
            yield line, columns[0], columns[2], grade(columns[3], path, line)


def _hint(columns: list[str]) -> str:
    bare = " (a qrels file of BEIR needs no --qrels: put it at qrels/test.tsv of the folder)"
    return bare if len(columns) == 3 else ""


def judged_by(path: Path, in_domain: Collection, ood: Mapping[str, Collection]) -> Collection:
    """The in-domain collection, the only one with a test set, with the judgements of a TREC qrels file.

    Raises:
        ConfigError: there are OOD test sets, too, which the file does not judge.
        DataError: a line is malformed or names an unknown id; no pair is relevant.
    """
    if ood:
        raise ConfigError(
            f"--qrels {path}: it judges one collection, and {1 + len(ood)} are measured "
            f"({_names(in_domain, ood)}); measure one alone (data=NAME data.ood=[])"
        )
    return in_domain.judged_by(evaluation_split(in_domain), path, read_qrels)


def run_files(pattern: Path, in_domain: Collection, ood: Mapping[str, Collection]) -> dict[str, Path]:
    """Metric prefix of each test set -> its run file.

    Raises:
        ConfigError: several sets would be written into one file.
        DataError: an id holds white space, so no run file can name it.
    """
    if ood and PLACE not in pattern.name:
        raise ConfigError(
            f"--run-out {pattern}: a run file holds one collection, and {1 + len(ood)} are measured "
            f"({_names(in_domain, ood)}); put {PLACE} into its name, or measure one alone (data=NAME "
            "data.ood=[])"
        )
    files = {}
    for prefix, collection in {
        "eff": in_domain,
        **{f"ood/{name}": part for name, part in ood.items()},
    }.items():
        identifier = collection.id_with_space()
        if identifier is not None:
            raise DataError(
                f"{collection.folder}: the id {identifier!r} holds white space, which parts the columns of a "
                "run file; rename it, or leave out --run-out"
            )
        files[prefix] = pattern.with_name(pattern.name.replace(PLACE, collection.name))
    return files


def _names(in_domain: Collection, ood: Mapping[str, Collection]) -> str:
    return ", ".join([in_domain.name, *ood])


def save_runs(scores: Mapping[str, SetScores], files: Mapping[str, Path], tag: str) -> None:
    """Write the rankings of sets by metric prefix; ``tag``: names the system."""
    word = "-".join(tag.split()) or "run"
    for prefix, path in files.items():
        ranking = scores[prefix].ranking
        if ranking is None:
            raise ValueError(f"{prefix} was not ranked")
        write_text(path, "".join(_lines(ranking, scores[prefix].evaluation_set, word)))


def _lines(ranking: Ranking, evaluation_set: EvaluationSet, tag: str) -> Iterator[str]:
    used = np.unique(ranking.columns[ranking.columns >= 0])
    names = evaluation_set.passage_ids(used)
    for query, columns, scores in zip(
        evaluation_set.query_ids(), ranking.columns, ranking.scores, strict=True
    ):
        found = columns >= 0
        passages = [names[place] for place in np.searchsorted(used, columns[found]).tolist()]
        listed = list(zip(scores[found].tolist(), passages, strict=True))
        # The order of trec_eval, whose ranks are its own: it reads the scores alone.
        listed.sort(key=lambda entry: (entry[0], entry[1].encode()), reverse=True)
        for rank, (score, passage) in enumerate(listed, start=1):
            # Nine digits tell all float32 apart.
            yield f"{query} Q0 {passage} {rank} {score:.9g} {tag}\n"
