"""What stands on a card: tables of whatever kinds the metrics hold, and sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from retrieval.evaluation.card.store import Card
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY

Metrics = Mapping[str, float]

RANKING = (("nDCG@10", "ndcg@10"), ("MRR@10", "mrr@10"), ("Recall@100", "recall@100"))
FIRST = "wsra"
"""The attack whose keys have no name of their own."""

ENTROPY = ("contrastive entropy", CONTRASTIVE_ENTROPY)


@dataclass(frozen=True)
class Table:
    """One table of the card; the first column holds texts, the others numbers as texts."""

    anchor: str
    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Layout:
    """All of a card for people."""

    model: str
    facts: list[tuple[str, str]]
    sentences: list[str]
    tables: list[Table]
    warnings: list[dict[str, str]] = field(default_factory=list)


def layout(card: Card) -> Layout:
    """The tables that the card's metrics fill, and what they say in short."""
    found = (collections(card), variations(card), biases(card), attacks(card))
    tables = [table for table in found if table.rows]
    return Layout(card.model, facts(card), sentences(card.metrics), tables, card.warnings)


def facts(card: Card) -> list[tuple[str, str]]:
    """What was measured, in numbers."""
    metrics = card.metrics
    found = [("collection", card.names.get("eff", "in-domain"))]
    counts = (("queries", "eval/queries"), ("candidates", "eval/pool"), ("negatives W", "eval/negatives"))
    found += [(name, f"{metrics[key]:,.0f}") for name, key in counts if key in metrics]
    return [*found, *card.about.items(), ("seconds", f"{card.seconds:,.0f}")]


def collections(card: Card) -> Table:
    """In-domain and OOD sets, beside BM25."""
    metrics, rows = card.metrics, []
    domains = [prefix for prefix in card.names if prefix.startswith("ood/")]
    sets = [("eff", card.names.get("eff", "in-domain"))]
    sets += [("ood", "mean of the OOD sets")] if len(domains) > 1 else []
    sets += [(prefix, card.names[prefix]) for prefix in domains]
    for prefix, name in sets:
        keys = [f"{prefix}/{key}" for _, key in (*RANKING, ENTROPY)]
        rows.append([name, *(number(metrics, key) for key in [*keys, f"bm25/{prefix}/ndcg@10"])])
    headings = ["collection", *(heading for heading, _ in (*RANKING, ENTROPY)), "nDCG@10 of BM25"]
    return Table(
        "collections", "Effectiveness and other domains", "", headings, [row for row in rows if any(row[1:])]
    )


def kinds(metrics: Metrics, first: str) -> list[str]:
    """Names of the kinds whose keys begin with ``first``, such as ``var``, in order of the keys."""
    pattern = re.compile(rf"{first}/([^/]+)/[^/]+.*")
    return list(dict.fromkeys(match[1] for key in sorted(metrics) if (match := pattern.fullmatch(key))))


def variations(card: Card) -> Table:
    """Queries written otherwise."""
    metrics, rows = card.metrics, []
    for kind in kinds(metrics, "var"):
        prefix = f"var/{kind}"
        rows.append(
            [
                kind,
                number(metrics, f"{prefix}/ndcg@10"),
                with_ends(metrics, f"{prefix}/drop/ndcg@10"),
                number(metrics, f"{prefix}/{CONTRASTIVE_ENTROPY}"),
                share(metrics, f"{prefix}/changed"),
                number(metrics, f"bm25/{prefix}/ndcg@10"),
            ]
        )
    headings = [
        "queries with",
        "nDCG@10",
        "what it costs",
        "contrastive entropy",
        "changed",
        "nDCG@10 of BM25",
    ]
    clean = number(metrics, "eff/ndcg@10")
    note = f"The same queries as they are have nDCG@10 {clean}. What it costs is the mean fall, by query."
    return Table("variations", "Queries written otherwise", note, headings, rows)


def biases(card: Card) -> Table:
    """Preferences between two texts of one passage."""
    metrics, rows = card.metrics, []
    for kind in kinds(metrics, "bias"):
        key = f"bias/{kind}/preference"
        if key in metrics:
            difference = number(metrics, f"bias/{kind}/difference")
            pairs = count(metrics, f"bias/{kind}/pairs")
            rows.append([kind, with_ends(metrics, key), preferred(metrics, key), difference, pairs])
    headings = ["bias", "preference", "decided", "difference of scores", "pairs"]
    note = "How often the text that a biased model prefers scores higher; ½ is no preference."
    return Table("biases", "Biases", note, headings, rows)


ATTACKED = (
    ("area", "auc"),
    ("in the top 10", "top10_rate"),
    ("success", "success_rate"),
    ("rank boost", "rank_boost"),
    ("nDCG@10", "ndcg@10"),
    ("contrastive entropy", CONTRASTIVE_ENTROPY),
    ("model queries", "queries"),
)


CONTROLS = (
    ("top 10, random edits", "adv/{}/random/top10_rate"),
    ("top 10 of BM25", "bm25/adv/{}/top10_rate"),
)
"""What the same budget reaches without aim, and what the same texts reach at BM25."""


def attacked_prefixes(metrics: Metrics) -> dict[str, str]:
    """Attack -> first part of its keys; those of the first attack stand under ``adv/…`` itself."""
    found = {FIRST: "adv"} if "adv/auc" in metrics or "adv/success_rate" in metrics else {}
    names = [name for name in kinds(metrics, "adv") if f"adv/{name}/auc" in metrics]
    return found | {name: f"adv/{name}" for name in names if name not in found}


def attacks(card: Card) -> Table:
    """Attacks, each beside its controls."""
    metrics, rows = card.metrics, []
    for name, prefix in attacked_prefixes(metrics).items():
        values = [
            with_ends(metrics, f"{prefix}/{key}") if key == "auc" else number(metrics, f"{prefix}/{key}")
            for _, key in ATTACKED
        ]
        rows.append([name, *values, *(number(metrics, key.format(name)) for _, key in CONTROLS)])
    note = (
        "Passages that do not answer the query are changed, or made, to rank higher. Area: under the share "
        "of them (of poison: of queries) in the top 10 against the attack's budget, 1 at worst."
    )
    headings = ["attack", *(heading for heading, _ in (*ATTACKED, *CONTROLS))]
    return Table("attacks", "Attacks", note, headings, rows)


def sentences(metrics: Metrics) -> list[str]:
    """The card in short: where the model stands beside BM25, what costs most, what it prefers, what lifts."""
    found = []
    own, lexical = metrics.get("eff/ndcg@10"), metrics.get("bm25/eff/ndcg@10")
    if own is not None and lexical is not None:
        found.append(f"In-domain nDCG@10 is {own:.3f}, {_beside(own, lexical)} BM25 ({lexical:.3f}).")
    drops = {kind: metrics.get(f"var/{kind}/drop/ndcg@10") for kind in kinds(metrics, "var")}
    known = {kind: value for kind, value in drops.items() if value is not None}
    if known:
        worst = max(known, key=lambda kind: known[kind])
        ends = with_ends(metrics, f"var/{worst}/drop/ndcg@10")
        found.append(f"Of the variations of queries, {worst} costs most: {ends} nDCG@10.")
    for kind in kinds(metrics, "bias"):
        key = f"bias/{kind}/preference"
        if key in metrics and (said := preferred(metrics, key)) not in ("", "no preference shown"):
            found.append(f"Bias {kind}: {said} ({with_ends(metrics, key)}).")
    prefixes = attacked_prefixes(metrics).items()
    areas = {name: metrics[f"{prefix}/auc"] for name, prefix in prefixes if f"{prefix}/auc" in metrics}
    if areas:
        worst = max(areas, key=lambda name: areas[name])
        found.append(f"The attack that lifts passages most: {worst}, area {areas[worst]:.3f} of 1.")
    return found


def _beside(own: float, other: float) -> str:
    return "above" if own > other else "below" if own < other else "equal to"


def preferred(metrics: Metrics, key: str) -> str:
    """Whether the interval of a preference decides it; empty without one."""
    low, high = metrics.get(f"{key}/low"), metrics.get(f"{key}/high")
    if low is None or high is None:
        return ""
    if low > 0.5:
        return "the biased text is preferred"
    return "the other text is preferred" if high < 0.5 else "no preference shown"


def number(metrics: Metrics, key: str) -> str:
    """A metric with three decimals, whole from 100 on; empty where it was not measured."""
    value = metrics.get(key)
    if value is None:
        return ""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}").replace("-", "−")


def count(metrics: Metrics, key: str) -> str:
    """A whole number."""
    return f"{metrics[key]:,.0f}" if key in metrics else ""


def share(metrics: Metrics, key: str) -> str:
    """A share as a percentage."""
    return f"{100 * metrics[key]:.0f} %" if key in metrics else ""


def with_ends(metrics: Metrics, key: str) -> str:
    """A metric with its interval, where ``key/low`` and ``key/high`` are known."""
    value, ends = number(metrics, key), [number(metrics, f"{key}/{end}") for end in ("low", "high")]
    return f"{value} [{', '.join(ends)}]" if value and all(ends) else value
