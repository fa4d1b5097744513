"""Which parameters of a scorer are embeddings: for its size N, and for its learning rates."""

from typing import Any, NamedTuple

from torch import nn

from retrieval.models.adapters import adapter_parameters


class Groups(NamedTuple):
    """Every parameter of a scorer once, by name, in the order of ``named_parameters``."""

    embedding: dict[str, nn.Parameter]
    other: dict[str, nn.Parameter]
    """N counts these; a projection is one of them."""
    adapters: dict[str, nn.Parameter]
    """Low-rank matrices beside frozen weights, to which they could be added: no size counts them."""

    def counts(self) -> dict[str, int]:
        """Numbers in the parameters: ``non_embedding`` (N), ``embedding`` and ``total``.

        With adapters also those that are ``trainable``.
        """
        embedding, other = (_numbers(part) for part in (self.embedding, self.other))
        found = {"non_embedding": other, "embedding": embedding, "total": embedding + other}
        if not self.adapters:
            return found
        every = (self.embedding | self.other | self.adapters).items()
        return found | {"trainable": _numbers({name: part for name, part in every if part.requires_grad})}


def _numbers(parameters: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


def parameter_groups(scorer: nn.Module, backbone: Any) -> Groups:
    """The embeddings of a scorer's backbone, and all its other parameters.

    Modules decide, whatever their names. Embeddings are the table of words, every other table of vectors
    outside the layers (positions, types), and what else stands in an input block: the module that holds the
    table of words and no layer. For a BERT this gives the parameters with "embedding" in their name, the
    convention of arXiv 2403.18684: its input block has a layer norm, which N leaves out.

    A table inside a layer, or with one number per attention head, is a part of attention (the relative bias
    of T5 and MPNet), and N counts it. N also counts the matrix by which ALBERT and ELECTRA widen their words:
    each token is multiplied by it. A tied weight is one parameter; an output head that shares the table of
    words adds nothing.
    """
    words: nn.Module = backbone.get_input_embeddings()
    heads = getattr(backbone.config, "num_attention_heads", None)
    in_layers = {id(module) for layers in _layers(backbone) for module in layers.modules()}
    embedding = {id(parameter) for parameter in words.parameters()}
    for module in backbone.modules():
        is_table = isinstance(module, nn.Embedding) and module.embedding_dim != heads
        is_block = module is not backbone and words in module.children() and not _layers(module)
        if (is_table or is_block) and id(module) not in in_layers:
            embedding |= {id(parameter) for parameter in module.parameters()}
    adapters = {id(parameter) for parameter in adapter_parameters(scorer)}
    groups = Groups({}, {}, {})
    for name, parameter in scorer.named_parameters():
        of_backbone = groups.embedding if id(parameter) in embedding else groups.other
        (groups.adapters if id(parameter) in adapters else of_backbone)[name] = parameter
    return groups


def _layers(module: nn.Module) -> list[nn.ModuleList]:
    return [inner for inner in module.modules() if isinstance(inner, nn.ModuleList)]
