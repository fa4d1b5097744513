"""``qwen3``: Yang et al. 2025 (arXiv 2505.09388)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import CLASSIFICATION, Architecture, decoder_shape


class Qwen3(Architecture):
    """Llama's decoder with a norm of the queries and of the keys of each head."""

    name = "qwen3"
    causal = True
    heads = (CLASSIFICATION,)
    rotary = True

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import Qwen3Config

        return Qwen3Config(**decoder_shape(model, tokenizer))

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import Qwen3Model

        return Qwen3Model(shape)
