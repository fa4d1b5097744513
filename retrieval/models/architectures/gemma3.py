"""``gemma3``: the text decoder of Gemma Team 2025 (arXiv 2503.19786)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import CLASSIFICATION, POSITIONS, Architecture, decoder_shape, head_count


class Gemma3(Architecture):
    """A causal decoder with norms around sublayers and word embeddings times the root of the width.

    Five of six layers see a window of tokens alone; it is as wide as the longest text here.
    """

    name = "gemma3"
    causal = True
    heads = (CLASSIFICATION,)
    rotary = True

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import Gemma3TextConfig

        return Gemma3TextConfig(
            **decoder_shape(model, tokenizer),
            query_pre_attn_scalar=model.hidden // head_count(model),
            sliding_window=POSITIONS,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import Gemma3TextModel

        return Gemma3TextModel(shape)
