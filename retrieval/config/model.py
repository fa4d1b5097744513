"""Group ``model``: the scorer."""

from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

from retrieval.config.data import bert_checkpoint
from retrieval.config.knobs import knob
from retrieval.config.registry import Registry

FAMILIES: Registry[type[Any]] = Registry("model.family", "retrieval.models.families")
"""Every model family: a class of :class:`retrieval.models.scorer.Scorer`. To look one up imports PyTorch."""

ARCHITECTURES: Registry[type[Any]] = Registry("model.architecture", "retrieval.models.architectures")
"""Every architecture made from scratch: a class of :class:`retrieval.models.architecture.Architecture`."""

NO_ADAPTER = "none"

WHOLE, EIGHT_BIT = "32", "8bit"
"""How the weights of a checkpoint are kept while adapters train."""

PAIR_FAMILIES = ("cross-encoder",)
"""Families whose every score takes a forward pass of query and passage together."""

POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
"""Modes of sentence-transformers' Pooling."""


@dataclass
class LoraConfig:
    """Low-rank adapters (LoRA), with model.adapter=lora."""

    rank: int = knob(8, "Rank of the matrices beside each weight.", minimum=1)
    alpha: int = knob(16, "Their product is multiplied by alpha/rank.", minimum=1)
    dropout: float = knob(0.0, "Share of their inputs that training drops.", minimum=0, below=1)
    targets: list[str] | None = knob(
        None,
        "Names of the linear layers that get them; null: peft's own choice for the architecture, and all "
        "where it has none.",
    )
    merge: bool = knob(False, "Whether the exported model has them added to its weights.")


@dataclass
class ModelConfig:
    """The scorer. ``layers`` and ``hidden`` span the 24-checkpoint BERT grid."""

    family: str = knob(
        "dual-encoder",
        "How a query and a passage score: dual-encoder (a vector each), multi-vector (a vector a token), "
        "sparse (a weight a word), cross-encoder (one pass of both).",
    )
    architecture: str = knob(
        "bert", "Architecture with init=scratch; docs/backbones.md.", choices=ARCHITECTURES.names
    )
    layers: int = knob(4, "Layers of the encoder.", minimum=1, maximum=96)
    hidden: int = knob(256, "Width of the encoder, such as 128, 256, 512 or 768.", minimum=1)
    heads: int | None = knob(None, "Attention heads; null: one per 64 hidden units.", minimum=1)
    intermediate: int | None = knob(None, "Width of the feed-forward layer; null: 4 × hidden.", minimum=1)
    init: str = knob(
        "${data.default_init}",
        "scratch: random weights and a tokenizer trained on the collection. pretrained: a checkpoint.",
        choices=("scratch", "pretrained"),
    )
    pretrained: str | None = knob(
        "${data.default_pretrained}",
        "Hugging Face hub id or local folder of the checkpoint; needed with init=pretrained.",
        content=True,
    )
    query_prompt: str | None = knob(
        None, "Text before each query, such as 'query: '; null: the checkpoint's, else none."
    )
    passage_prompt: str | None = knob(None, "Text before each passage; null: the checkpoint's, else none.")
    pooling: str | None = knob(
        None,
        "Vector of a text from those of its tokens; null: as the checkpoint says; lasttoken of a causal "
        "decoder from scratch; else their mean.",
        choices=POOLINGS,
        families=("dual-encoder",),
    )
    projection: int | None = knob(
        None,
        "Dimension of a linear projection of the vector; 0: none; null: 768 from scratch and after "
        "the BERTs of arXiv 1908.08962, else the checkpoint's own layers.",
        minimum=0,
        families=("dual-encoder",),
    )
    similarity: str | None = knob(
        None,
        "Score of two vectors; null: the checkpoint's, else cosine.",
        choices=("dot", "cosine"),
        families=("dual-encoder",),
    )
    temperature: float | None = knob(
        None,
        "Scores are divided by it; null: 0.1, but 1 for a checkpoint that scores by inner products and for "
        "sparse, 0.3 for multi-vector. 1 with similarity=dot is the setting of arXiv 2403.18684.",
        above=0,
    )
    token_dimension: int | None = knob(
        None,
        "Numbers in the vector of a token; null: as the checkpoint says, else 128.",
        minimum=1,
        families=("multi-vector",),
    )
    query_expansion: bool | None = knob(
        None,
        "Fill queries up with mask tokens to data.max_query_length, as ColBERT does; null: as the checkpoint "
        "says, else no.",
        families=("multi-vector",),
    )
    attend_to_expansion: bool | None = knob(
        None,
        "Whether other tokens attend to the mask tokens of model.query_expansion; null: as the checkpoint "
        "says, else no, as in ColBERT.",
        families=("multi-vector",),
    )
    skip_punctuation: bool | None = knob(
        None,
        "Let no token of a query find punctuation of a passage; null: as the checkpoint says, else yes.",
        families=("multi-vector",),
    )
    listed_negatives: int = knob(
        7,
        "Passages of the batch that training scores each query with, beside its positive and its own hard "
        "negatives.",
        minimum=0,
        families=PAIR_FAMILIES,
    )
    regulariser: str = knob(
        "flops",
        "What keeps weights of words few: flops, Σ of squared mean weights; l1, Σ of mean weights.",
        choices=("flops", "l1", "none"),
        families=("sparse",),
    )
    query_regularisation: float = knob(
        3e-4, "Weight of the regulariser of queries.", minimum=0, families=("sparse",)
    )
    passage_regularisation: float = knob(
        1e-4, "Weight of the regulariser of passages.", minimum=0, families=("sparse",)
    )
    regularisation_steps: float = knob(
        1 / 3,
        "Share of the steps over which these weights rise, with its square, from 0.",
        minimum=0,
        maximum=1,
        families=("sparse",),
    )
    dropout: float = knob(0.0, "Share of activations that training drops.", minimum=0, below=1)
    adapter: str = knob(
        NO_ADAPTER,
        "lora: low-rank matrices are trained beside a frozen backbone; needs the extra lora.",
        choices=(NO_ADAPTER, "lora"),
    )
    lora: LoraConfig = field(default_factory=LoraConfig)
    load_in: str = knob(
        WHOLE,
        "Type of a checkpoint's frozen weights: 32, or 8bit (LLM.int8, on an NVIDIA GPU, with adapter=lora; "
        "needs the extra quantised).",
        choices=(WHOLE, EIGHT_BIT),
    )


SIZES: dict[str, tuple[int, int]] = {
    "bert-tiny": (2, 128),
    "bert-l2-h256": (2, 256),
    "bert-mini": (4, 256),
    "bert-small": (4, 512),
    "bert-medium": (8, 512),
    "bert-base": (12, 768),
    "bert-large": (24, 1024),
}
"""Option of group ``model``, and name of such a model in results -> ``layers`` and ``hidden``."""


TEMPERATURE = 0.1
"""Of scores, where neither a key nor a checkpoint says another."""


TOKEN_DIMENSION = 128
"""Numbers in the vector of a token, as in ColBERT."""

TOKEN_TEMPERATURE = 0.3
"""Of sums of cosines (docs/logbook/2026-11-27-multi-vector.md)."""


class Vectors(NamedTuple):
    """How a dual encoder makes vectors and compares them; ``None``: as its checkpoint does."""

    pooling: str | None
    projection: int | None
    similarity: str | None
    temperature: float | None


PLAIN_BERTS = {
    bert_checkpoint(layers, hidden) for layers in range(2, 13, 2) for hidden in (128, 256, 512, 768)
}
PLAIN_BERTS.add(bert_checkpoint(24, 1024))


def vectors_of(model: ModelConfig) -> Vectors:
    """What a configuration says about vectors, with the defaults where no checkpoint has a say."""
    found = Vectors(model.pooling, model.projection, model.similarity, model.temperature)
    if model.init == "pretrained" and model.pretrained not in PLAIN_BERTS:
        return found
    width = 768 if found.projection is None else found.projection
    causal = model.init == "scratch" and ARCHITECTURES[model.architecture].causal
    return Vectors(
        found.pooling or ("lasttoken" if causal else "mean"),
        width,
        found.similarity or "cosine",
        found.temperature or TEMPERATURE,
    )


def unread_keys(family: str) -> dict[str, Any]:
    """Keys of :class:`ModelConfig` that only other families read, with their defaults."""
    return {
        item.name: item.default
        for item in fields(ModelConfig)
        if _families(item) and family not in _families(item)
    }


def has_own_keys(family: str) -> bool:
    """Whether a family is one of those that keys of :class:`ModelConfig` are declared for."""
    return any(family in _families(item) for item in fields(ModelConfig))


def _families(item: Field[Any]) -> tuple[str, ...]:
    own = item.metadata.get("knob")  # a group has none
    return own.families if own else ()


def model_name(model: ModelConfig) -> str:
    """Name of a model in run names and results: ``bert-mini``, ``qwen3-l2-h128``, or the checkpoint's."""
    adapted = f"-lora{model.lora.rank}" if model.adapter != NO_ADAPTER else ""
    loaded = f"-{model.load_in}" if model.load_in != WHOLE else ""
    return f"{_backbone_name(model)}{adapted}{loaded}"


def _backbone_name(model: ModelConfig) -> str:
    if model.init == "pretrained" and model.pretrained:
        parent, _, name = model.pretrained.rstrip("/").rpartition("/")
        # A run exports its encoder into a folder of this name, whatever the run.
        return f"{parent.rpartition('/')[2]}-{name}" if name == "model" and parent else name
    names = {("bert", *shape): name for name, shape in SIZES.items()}
    shape = model.architecture, model.layers, model.hidden
    return names.get(shape, "{}-l{}-h{}".format(*shape))


def seed_of_weights(model: ModelConfig, seed: int) -> int | None:
    """The seed, where initial weights depend on it; ``None`` where a checkpoint says all of them."""
    whole = (
        model.init == "pretrained"
        and model.family == ModelConfig.family
        and model.adapter == NO_ADAPTER
        and not vectors_of(model).projection
    )
    return None if whole else seed
