"""``roberta``: Liu et al. 2019 (arXiv 1907.11692)."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import POSITIONS, Architecture, named_shape


class Roberta(Architecture):
    """BERT's layers with positions that count from the row after that of padding, and one type of segment."""

    name = "roberta"
    residual_outputs = ("output.dense.weight",)

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import RobertaConfig

        return RobertaConfig(
            **named_shape(model, tokenizer),
            hidden_dropout_prob=model.dropout,
            attention_probs_dropout_prob=model.dropout,
            max_position_embeddings=POSITIONS + tokenizer.pad_token_id + 1,
            type_vocab_size=1,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import RobertaModel

        return RobertaModel(shape, add_pooling_layer=False)
