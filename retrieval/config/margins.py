"""Margins of denoising: how close to the positive's score a mined negative's may come."""

from __future__ import annotations

from retrieval.config.strategy import DenoiseConfig
from retrieval.errors import ConfigError


def check_margin(config: DenoiseConfig) -> None:
    """Refuse a margin that is out of range, or without meaning for the teacher.

    Raises:
        ConfigError: it names the valid ones.
    """
    if config.margin != "percentile":
        return
    if not 0 <= config.value <= 1:
        raise ConfigError(
            f"strategy.denoise.value={config.value} is no share; with strategy.denoise.margin=percentile it "
            "must be from 0 to 1"
        )
    if config.teacher == "bm25":
        # A score of BM25 is a sum over the query's words: long queries would lose their lists, and short
        # ones keep every false negative.
        raise ConfigError(
            "strategy.denoise.margin=percentile is one threshold for all queries, and the scores of "
            "strategy.denoise.teacher=bm25 do not compare between queries; valid with it: absolute, "
            "relative; or name a cross-encoder as teacher"
        )
