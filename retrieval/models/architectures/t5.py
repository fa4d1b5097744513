"""``t5``: the encoder of Raffel et al. 2020 (arXiv 1910.10683), as in Sentence-T5 (arXiv 2108.08877)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import Architecture, head_count, width_of


class T5(Architecture):
    """The encoder alone: a bias by distance for positions, norms before sublayers, no other biases."""

    name = "t5"
    heads = ()

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import T5Config

        return T5Config(
            vocab_size=len(tokenizer),
            d_model=model.hidden,
            d_kv=model.hidden // head_count(model),
            d_ff=width_of(model),
            num_layers=model.layers,
            num_heads=head_count(model),
            dropout_rate=model.dropout,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import T5EncoderModel

        return T5EncoderModel(shape)
