"""Names of metrics that the run directory and its mirrors share."""

REFERENCES = ("bm25", "untrained")
"""Reference rows that stand beside a run's metrics; their names are the first part of their keys."""

CONTRASTIVE_ENTROPY = "contrastive_entropy"

ENTROPY_ERROR = "contrastive_entropy_error"
"""Standard error of the mean over a sample of queries, where a model is asked for few."""

RANKING = ("ndcg@10", "mrr@10", "recall@100")
"""Metrics of a ranking, which every evaluation of a test set measures."""

_RISING = ("ndcg", "mrr", "map", "recall", "precision", "success@", "accuracy", "hit")
"""How the names of metrics begin that rise with quality; an attack's ``success_rate`` does not."""

_SHARES = ("auc", "success_rate", "top10_rate")
"""How the names of an attack's measures begin that are shares, of which 1 is the worst."""

VARIED, BIAS = "var", "bias"
"""First parts of the keys of varied queries and of probes; the second is the kind."""

DROP = "drop"
"""Part of the keys of what a change costs: the clean value less the other one, so less is better."""

_SPEEDS = ("pairs_per_second", "mfu")
"""What is better when it is more, and is no quality of a model."""


def rises_with_quality(metric: str) -> bool:
    """Whether a better model has a higher ``metric``; contrastive entropy, losses and costs fall.

    What a change costs falls, too, whatever it is measured in.
    """
    return _last(metric).startswith(_RISING) and DROP not in metric.split("/")


def is_contrastive_entropy(metric: str) -> bool:
    """Whether ``metric`` is a contrastive entropy: a loss in nats."""
    return metric.endswith(CONTRASTIVE_ENTROPY)


def is_harm_share(metric: str) -> bool:
    """Whether ``metric`` is the share of an attack's attempts that did harm: from 0 to 1, lower is better."""
    return _last(metric).startswith(_SHARES)


def larger_is_better(metric: str) -> bool:
    """Whether a higher value of ``metric`` is better: one that rises with quality, or a speed."""
    return rises_with_quality(metric) or _last(metric).startswith(_SPEEDS)


def _last(metric: str) -> str:
    return metric.rsplit("/", 1)[-1].lower()
