"""``bert``: Devlin et al. 2019 (arXiv 1810.04805), in the sizes of arXiv 1908.08962 and any other."""

from typing import Any

from retrieval.config import ModelConfig
from retrieval.models.architecture import Architecture, named_shape


class Bert(Architecture):
    """BERT without its pooler, which pooling here never uses."""

    name = "bert"
    residual_outputs = ("output.dense.weight",)

    @classmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import BertConfig

        return BertConfig(
            **named_shape(model, tokenizer),
            hidden_dropout_prob=model.dropout,
            attention_probs_dropout_prob=model.dropout,
        )

    @classmethod
    def bare(cls, shape: Any) -> Any:
        """See :class:`Architecture`."""
        from transformers import BertModel

        return BertModel(shape, add_pooling_layer=False)
