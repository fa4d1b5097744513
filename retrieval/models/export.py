"""A backbone and what follows it as a sentence-transformers folder (safetensors)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.models import bert
from retrieval.models.adapters import adapted_layers, save_adapters, without_adapters


def save_folder(
    backbone: nn.Module,
    tokenizer: Any,
    lengths: tuple[int, int],
    modules: list[nn.Module],
    prompts: tuple[str, str],
    folder: Path,
    *,
    model: Any = None,
    similarity: str = "dot",
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write ``folder`` so that ``SentenceTransformer(folder)`` encodes as the backbone and ``modules`` do.

    ``lengths``: tokens that ``encode_query`` and ``encode_document`` keep; ``prompts``: what stands before a
    text; ``model``: another class of sentence-transformers; ``similarity``: its name of what scores, inner
    products unless said; ``options``: more of its Transformer. Of a backbone with adapters these are saved,
    beside the name of their base or, where it is from scratch, the base. The folder is written under a
    temporary name and renamed.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = temporary / "source"
    adapted = bool(adapted_layers(backbone))
    plain: Any = without_adapters(backbone) if adapted else backbone
    plain.save_pretrained(str(source), safe_serialization=True)
    tokenizer.save_pretrained(str(source))
    query_length, passage_length = lengths
    transformer = Transformer(
        str(source),
        model_kwargs={"add_pooling_layer": False} if bert.supports(plain) else None,
        max_seq_length=passage_length,
        query_length=query_length,
        document_length=passage_length,
        **(options or {}),
    )
    named = dict(zip(("query", "document"), prompts, strict=True)) if any(prompts) else None
    written = (model or SentenceTransformer)(
        modules=[transformer, *modules], device="cpu", similarity_fn_name=similarity, prompts=named
    )
    written.save(str(temporary), safe_serialization=True, create_model_card=False)
    shutil.rmtree(source)
    if adapted:
        save_adapters(backbone, temporary, folder)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def save_cross_encoder(
    model: nn.Module, tokenizer: Any, lengths: tuple[int, int], longest: int, folder: Path
) -> None:
    """Write ``folder`` so that ``CrossEncoder(folder)`` scores a pair by the one logit of ``model``.

    ``model``: of transformers, for sequence classification; ``longest``: tokens of a pair at most;
    ``lengths``: those of a query and of a passage, which are written down and which the library cuts no pair
    to. The folder is written under a temporary name and renamed.
    """
    from sentence_transformers import CrossEncoder

    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = temporary / "source"
    model.save_pretrained(str(source), safe_serialization=True)  # type: ignore[operator]
    tokenizer.save_pretrained(str(source))
    # Without an activation a library would take a sigmoid, which changes every difference of scores.
    written = CrossEncoder(str(source), max_length=longest, activation_fn=nn.Identity(), device="cpu")
    transformer: Any = written[0]
    transformer.query_length, transformer.document_length = lengths
    written.save_pretrained(str(temporary), safe_serialization=True, create_model_card=False)
    shutil.rmtree(source)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def pooling_module(hidden: int, modes: tuple[str, ...]) -> nn.Module:
    """The Pooling module of sentence-transformers, for token vectors of ``hidden`` numbers."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    module: nn.Module = Pooling(hidden, pooling_mode=modes[0] if len(modes) == 1 else modes)
    return module


def dense(weight: Tensor, bias: Tensor | None, name: str = "sentence_embedding") -> nn.Module:
    """A linear layer as a module of sentence-transformers, of the features called ``name``."""
    from sentence_transformers.sentence_transformer.modules import Dense

    layer: nn.Module = Dense(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=bias is not None,
        activation_function=nn.Identity(),
        module_input_name=name,
    )
    with torch.no_grad():
        layer.linear.weight.copy_(weight)  # type: ignore[union-attr, operator]
        if bias is not None:
            layer.linear.bias.copy_(bias)  # type: ignore[union-attr, operator]
    return layer


def without_scale(modules: list[nn.Module]) -> tuple[list[nn.Module], float]:
    """Modules without a last Dense that multiplies vectors by a positive number, and the number, or 1.

    An exported model keeps the root of its temperature there: it is no layer that learns.
    """
    linear = getattr(modules[-1], "linear", None) if modules else None
    activation = getattr(modules[-1], "activation_function", None) if modules else None
    if not isinstance(linear, nn.Linear) or not isinstance(activation, nn.Identity):
        return modules, 1.0
    weight = linear.weight.detach()
    number = float(weight[0, 0])
    same = weight.shape[0] == weight.shape[1] and torch.equal(weight, torch.eye(len(weight)) * number)
    plain = same and number > 0 and "bias" not in linear.state_dict()
    return (modules[:-1], number) if plain else (modules, 1.0)
