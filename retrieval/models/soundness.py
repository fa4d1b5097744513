"""Whether a pretrained model can do what a run asks of it, found out before any training."""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from retrieval.data.layout import group_tokens
from retrieval.data.tokens import tokenized
from retrieval.errors import ConfigError, first_line
from retrieval.models.scorer import Scorer


def check_scorer(scorer: Scorer, tokenizer: Any, lengths: tuple[int, int], source: str) -> None:
    """Check weights, vocabulary and positions, and encode an empty, a short and a longest text.

    ``lengths``: tokens of a query and of a passage at most; ``source``: the checkpoint, for messages.

    Raises:
        ConfigError: Says what does not fit, with both numbers where there are two.
    """
    named = f"model.pretrained={source}: "
    broken = [name for name, weight in scorer.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise ConfigError(f"{named}{len(broken)} weights are not finite ({broken[0]}, …); load it again")
    check_vocabulary(tokenizer, len(scorer.word_table), named)
    places = positions(scorer.backbone)
    for key, length in zip(("data.max_query_length", "data.max_passage_length"), lengths, strict=True):
        if places is not None and length > places:
            raise ConfigError(
                f"{key}={length} is above the {places} positions of {source}; use {places} or less"
            )
    _encode(scorer, tokenizer, max(lengths), named)


def check_vocabulary(tokenizer: Any, rows: int, named: str) -> None:
    """Refuse a tokenizer with more tokens than the table of words has ``rows``.

    Raises:
        ConfigError: Says so with both numbers, after ``named``.
    """
    if len(tokenizer) > rows:
        raise ConfigError(
            f"{named}its tokenizer has {len(tokenizer)} tokens, its table of words {rows} rows; give the "
            "tokenizer that belongs to it"
        )


def positions(backbone: nn.Module) -> int | None:
    """How many tokens a backbone's learned table of positions has room for; ``None`` without one."""
    config: Any = backbone.config
    rows = {getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")} - {None}
    words = backbone.get_input_embeddings()  # type: ignore[operator]
    for module in backbone.modules():
        if isinstance(module, nn.Embedding) and module is not words and module.num_embeddings in rows:
            # RoBERTa and its kind count from the row after that of padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _encode(scorer: Scorer, tokenizer: Any, longest: int, named: str) -> None:
    texts = ["", "a", "a " * longest]
    ids = tokenized(tokenizer, texts, longest, scorer.prompts[1])["input_ids"]
    tokens = np.fromiter(chain.from_iterable(ids), np.int64)
    batch = group_tokens(tokens, np.array([len(each) for each in ids])).to(scorer.word_table.device)
    training = scorer.training
    scorer.eval()
    try:
        with torch.no_grad():
            rows = scorer(batch)
            if scorer.by_pair:
                rows = scorer.pair_scores(rows, rows)
    except Exception as error:  # whatever an architecture of another's raises on its way
        raise ConfigError(
            f"{named}it cannot encode a text ({first_line(error) or type(error).__name__})"
        ) from error
    finally:
        scorer.train(training)
    if not torch.isfinite(rows).all():
        raise ConfigError(f"{named}its vectors of an empty, a short or a long text are not finite")
