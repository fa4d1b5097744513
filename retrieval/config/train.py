"""Group ``train``: optimisation."""

from dataclasses import dataclass

from retrieval.config.knobs import knob

ADAPTER_LEARNING_RATE = 2e-4
"""Of adapters beside a pretrained backbone where none is chosen: that of GPT-2 and GPT-3 in Hu et al. 2021
(arXiv 2106.09685, appendix D), and the low end of its rates of RoBERTa."""


@dataclass
class TrainConfig:
    """Optimisation; part of a run's identity."""

    steps: int = knob(150, "Optimisation steps.", minimum=1)
    batch_size: int = knob(
        64, "Query-passage pairs a step; in-batch negatives need a second pair.", minimum=2
    )
    mini_batch_size: int | None = knob(
        None,
        "Texts encoded at a time; gradients stay those of the whole batch. null: all at once.",
        minimum=1,
    )
    gradient_checkpointing: bool = knob(
        False, "Whether each layer is computed again in the backward pass, which saves memory."
    )
    lr: float | None = knob(
        None,
        "Peak learning rate; null: by width, depth and what is trained, docs/method.md.",
        above=0,
        maximum=1,
    )
    embedding_lr: float | None = knob(
        None,
        "Peak learning rate of the embeddings; null: lr, but not scaled where lr is chosen.",
        above=0,
        maximum=1,
    )
    warmup: float = knob(
        0.1,
        "Share of the steps with rising learning rate; linear decay to zero follows.",
        minimum=0,
        maximum=1,
    )
    weight_decay: float = knob(0.01, "Weight decay of AdamW.", minimum=0)
    clip: float = knob(1.0, "Greatest norm of the gradient; 0: no clipping.", minimum=0)
    precision: str = knob(
        "auto",
        "Precision of training; auto: bf16 where the hardware multiplies it faster.",
        choices=("auto", "32", "bf16"),
    )
