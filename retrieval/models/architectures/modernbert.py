"""``modernbert``: Warner et al. 2024 (arXiv 2412.13663)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import POSITIONS, Architecture, named_shape


class ModernBert(Architecture):
    """Rotary positions, gated feed-forward, norms before sublayers; every third layer sees the whole text."""

    name = "modernbert"
    rotary = True

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import ModernBertConfig

        return ModernBertConfig(
            **named_shape(model, tokenizer),
            embedding_dropout=model.dropout,
            mlp_dropout=model.dropout,
            attention_dropout=model.dropout,
            max_position_embeddings=POSITIONS,
            bos_token_id=tokenizer.cls_token_id,
            cls_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            sep_token_id=tokenizer.sep_token_id,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import ModernBertModel

        return ModernBertModel(shape)
