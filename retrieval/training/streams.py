"""Which pairs a step draws, from what its strategy says that a batch holds."""

from dataclasses import dataclass, replace

from retrieval.data.batches import Stream, TrainingPairs
from retrieval.errors import ConfigError
from retrieval.training.strategy import IN_DOMAIN, OTHER_DOMAINS, PERTURBED, POOLED, Strategy

WHOLE_BATCH = {IN_DOMAIN: 0, POOLED: 1, PERTURBED: 2, OTHER_DOMAINS: 3}
"""Random streams of the blocks that make up a whole batch; that of in-domain pairs is ``standard``'s."""

PART_OF_BATCH = {IN_DOMAIN: 0, OTHER_DOMAINS: 1, PERTURBED: 2, POOLED: 1}
"""Random streams of the blocks that share a batch."""

DEV_PAIRS = 257
"""Dev pairs of a loss in a recalibration: each query's positive beside W = 256 other passages."""


@dataclass(frozen=True)
class TrainingData:
    """What a strategy may draw from."""

    in_domain: TrainingPairs
    robust: tuple[TrainingPairs, ...] = ()


@dataclass(frozen=True)
class Lane:
    """What a step of ``mixing=steps`` may train: one ranking loss on a whole batch.

    A loss that takes several collections in turn has one lane for each.
    """

    name: str
    """Tells lanes apart, in the checkpoint too."""
    term: str
    stream: Stream
    weight: float
    """Share of the steps of its term."""


def streams(strategy: Strategy, data: TrainingData, batch_size: int) -> tuple[Stream, ...]:
    """The pairs of a step that computes all losses, for ``batch_size`` pairs of the baseline.

    With ``budget=extra`` the perturbed passages are those of the in-domain block.

    Raises:
        ConfigError: pairs of robust-training domains are needed and there is no such domain.
    """
    keys = PART_OF_BATCH | ({PERTURBED: 0} if strategy.config.budget == "extra" else {})
    counts = strategy.counts(batch_size)
    return tuple(_stream(strategy, name, data, count, keys[name]) for name, count in counts.items())


def lanes(strategy: Strategy, data: TrainingData, batch_size: int) -> tuple[Lane, ...]:
    """What a step may train with ``mixing=steps``: every loss on ``batch_size`` pairs of its own.

    Pairs of robust-training domains come from one domain a step, the domains in turn, or from all of them
    where ``strategy.domains`` is ``pooled``.

    Raises:
        ConfigError: pairs of robust-training domains are needed and there is no such domain.
    """
    found = []
    for term, mixture in strategy.terms.items():
        for block, weight in mixture.items():
            stream = _stream(strategy, block, data, batch_size, WHOLE_BATCH[block])
            parts = [stream]
            if block == OTHER_DOMAINS and strategy.config.domains == "turn":
                sources = enumerate(stream.sources)
                parts = [replace(stream, sources=(source,), key=stream.key + i) for i, source in sources]
            for part in parts:
                of = f"/{part.sources[0].name}" if len(parts) > 1 else ""
                found.append(Lane(f"{term}/{block}{of}", term, part, weight / len(parts)))
    return tuple(found)


def dev_streams(strategy: Strategy, dev: TrainingData) -> tuple[Stream, ...]:
    """As many dev pairs for each loss: their ranking loss is a contrastive entropy of equal W.

    257 pairs, or as many as the smallest collection has.
    """
    parts = [_stream(strategy, name, dev, 0, key) for key, name in enumerate(strategy.shares)]
    sizes = [len(source) * len(part.sources) for part in parts for source in part.sources]
    count = min(DEV_PAIRS, *sizes)
    return tuple(Stream(part.name, part.sources, count, part.key) for part in parts)


def _stream(strategy: Strategy, block: str, data: TrainingData, count: int, key: int) -> Stream:
    if block not in (OTHER_DOMAINS, POOLED):
        return Stream(block, (data.in_domain,), count, key, strategy.negatives_of(block))
    if not data.robust:
        raise ConfigError(
            f"strategy={strategy.name} needs robust-training domains and data.robust is empty; name some, or "
            "use strategy.robust=adversarial or strategy=standard"
        )
    if block == POOLED:
        return Stream(block, (data.in_domain, *data.robust), count, key, proportional=True)
    return Stream(block, data.robust, count, key)
