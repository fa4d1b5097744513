"""``distilbert``: Sanh et al. 2019 (arXiv 1910.01108)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import POSITIONS, Architecture, head_count, width_of


class DistilBert(Architecture):
    """BERT's layers without types of segments."""

    name = "distilbert"
    residual_outputs = ("attention.out_lin.weight", "ffn.lin2.weight")

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=len(tokenizer),
            dim=model.hidden,
            n_layers=model.layers,
            n_heads=head_count(model),
            hidden_dim=width_of(model),
            dropout=model.dropout,
            attention_dropout=model.dropout,
            max_position_embeddings=POSITIONS,
            pad_token_id=tokenizer.pad_token_id,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import DistilBertModel

        return DistilBertModel(shape)
