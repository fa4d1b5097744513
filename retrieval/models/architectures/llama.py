"""``llama``: Touvron et al. 2023 (arXiv 2302.13971)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import CLASSIFICATION, Architecture, decoder_shape


class Llama(Architecture):
    """A causal decoder: rotary positions, gated feed-forward, norms before sublayers, no biases."""

    name = "llama"
    causal = True
    heads = (CLASSIFICATION,)
    rotary = True

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import LlamaConfig

        return LlamaConfig(**decoder_shape(model, tokenizer))

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import LlamaModel

        return LlamaModel(shape)
