"""What ``python -m retrieval.evaluate`` does with cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrieval.evaluation.card.compare import compare
from retrieval.evaluation.card.layout import layout
from retrieval.evaluation.card.render import compared, save_card, terminal
from retrieval.evaluation.card.store import Card, load_card
from retrieval.evaluation.roles import DEV
from retrieval.evaluation.suite import Measured, save_scores
from retrieval.run.files import write_json


def card_of(measured: Measured, model: str, warnings: Sequence[Mapping[str, Any]], seconds: float) -> Card:
    """The card of a measurement that took so many seconds."""
    tests = {
        prefix: part.evaluation_set
        for prefix, part in measured.scores.items()
        if prefix == "eff" or prefix.startswith("ood/")
    }
    texts = [{key: str(value) for key, value in each.items()} for each in warnings]
    kept = {key: value for key, value in measured.metrics.items() if not key.startswith(f"{DEV}/")}
    return Card(
        model=model,
        collections={prefix: part.fingerprint for prefix, part in tests.items()},
        names={prefix: part.name for prefix, part in tests.items()},
        metrics=kept,
        about=dict(measured.about),
        warnings=texts,
        seconds=seconds,
    )


def tell_card(card: Card, measured: Measured, folder: Path | None) -> None:
    """Print a card, and write it with its scores by query into ``folder`` where there is one."""
    print("\n".join(terminal(layout(card))))
    if folder is not None:
        save_scores(measured.scores, folder / "scores")
        for path in save_card(card, folder):
            print(f"wrote {path}")


def tell_comparison(first: Path, second: Path, out: Path | None) -> None:
    """Print two cards side by side, and write the comparison where it is asked for.

    Raises:
        DataError: one is no card, or they are of different measurements.
    """
    found = compare(load_card(first), load_card(second))
    print("\n".join(compared(found)))
    if out is not None:
        write_json(out, found.to_json())
