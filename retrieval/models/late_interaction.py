"""What a MultiVectorEncoder of sentence-transformers holds beside its backbone."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from retrieval.errors import ConfigError
from retrieval.models.checkpoint import kind_of, read_settings, unreadable

KIND = "MultiVectorEncoder"
PYLATE, STANFORD = "ColBERT", "HF_ColBERT"
"""Kinds of model in the folders of PyLate up to 3 and of Stanford's ColBERT."""

PUNCTUATION = tuple(string.punctuation)
"""Words that do not count in passages, as in ColBERT."""

_CHANGING, MASK = ("Dense", "Normalize"), "MultiVectorMask"


@dataclass(frozen=True)
class LateInteraction:
    """The modules after the transformer, and how texts are prepared."""

    source: str
    layers: tuple[tuple[str, str], ...]
    """Names and folders of what changes token vectors, the normalisation left out: its place is known."""
    skiplist: tuple[str, ...]
    skips_in_queries: bool
    expansion: Mapping[str, Any] | None
    """How queries are filled up, in the words of sentence-transformers; ``None``: they are not."""
    read: tuple[str, ...]
    """What of ``Checkpoint.left`` is read here."""

    def fills(self) -> bool:
        """Whether queries are filled up.

        Raises:
            ConfigError: They are in a way that no run can express.
        """
        if self.expansion is None:
            return False
        if self.expansion.get("strategy") != "fixed":
            raise _refused(
                self.source,
                f"query_expansion with strategy={self.expansion.get('strategy')}",
                "one with strategy=fixed, or set model.query_expansion=true or false and train it",
            )
        return True

    def attends(self) -> bool:
        """Whether other tokens attend to those that fill queries up."""
        return bool(self.expansion and self.expansion.get("attend"))

    def modules(self) -> list[nn.Module]:
        """Load the layers: each maps ``features["token_embeddings"]``, float32[n, L, d].

        Raises:
            ConfigError: A module cannot be loaded.
        """
        from sentence_transformers.base.modules import Dense

        try:
            return [Dense.load(self.source, subfolder=place) for _, place in self.layers]
        except Exception as error:  # every library that reads a file has errors of its own
            raise unreadable(self.source, error) from error


@cache
def late_interaction_of(source: str) -> LateInteraction | None:
    """Read a folder or hub id; ``None`` for a model of another kind.

    Raises:
        ConfigError: It does what :mod:`retrieval.models.maxsim` does not, or is in an older layout.
    """
    kinds = [kind_of(source), *(read_settings(source, "config.json").get("architectures") or [])]
    if PYLATE in kinds or STANFORD in kinds:
        raise ConfigError(
            f"model.pretrained={source}: a folder of PyLate or Stanford's ColBERT; give the folder that "
            f"sentence-transformers makes of it: MultiVectorEncoder({source!r}).save_pretrained(FOLDER)"
        )
    if kinds[0] != KIND:
        return None
    listed = read_settings(source, "modules.json")
    modules = [(str(each["type"]).rsplit(".", 1)[-1], str(each.get("path") or "")) for each in listed]
    (_, place), *others = modules
    names = [name for name, _ in others]
    similarity = read_settings(source, "config_sentence_transformers.json").get("similarity_fn_name")
    if similarity not in (None, "maxsim"):
        raise _refused(source, f"similarity {similarity}", "a model scored by maxsim")
    strange = [name for name in names if name not in (*_CHANGING, MASK)]
    if strange:
        raise _refused(source, f"module {strange[0]}", "a model of Dense, Normalize and MultiVectorMask")
    changing = [part for part in others if part[0] in _CHANGING]
    normalised = names.count("Normalize") == 1 and _scales_at_most(source, changing)
    if not normalised:
        raise _refused(source, "no Normalize after its layers", "a model whose token vectors have length 1")
    masks = [read_settings(source, f"{path}/config.json") for name, path in others if name == MASK]
    mask: dict[str, Any] = masks[0] if masks else {}
    if mask.get("keep_only_token_ids"):
        raise _refused(source, "keep_only_token_ids", "a model of texts")
    basic = read_settings(source, f"{place}/sentence_bert_config.json".lstrip("/"))
    expansion = basic.get("query_expansion")
    if expansion and "query_length" in basic and basic["query_length"] == expansion["length"]:
        expansion = {**expansion, "strategy": "fixed"}  # "min" fills up to the most tokens there may be
    return LateInteraction(
        source,
        tuple(part for part in changing if part[0] == "Dense"),
        tuple(mask.get("skiplist_words") or ()),
        "query" in (mask.get("skiplist_tasks") or ()),
        expansion,
        (*(f"module {name}" for name in names), f"the head of a {KIND}"),
    )


def skipped_ids(words: tuple[str, ...], tokenizer: Any) -> list[int]:
    """Token ids of those ``words`` that are one token each."""
    ids = tokenizer.convert_tokens_to_ids(list(words))
    unknown = tokenizer.unk_token_id
    return [
        int(index)
        for word, index in zip(words, ids, strict=True)
        if index is not None and (index != unknown or word == tokenizer.unk_token)
    ]


def _scales_at_most(source: str, changing: list[tuple[str, str]]) -> bool:
    """Whether what follows the normalisation is one layer that multiplies by a number, or nothing."""
    from retrieval.models.export import without_scale

    place = [name for name, _ in changing].index("Normalize")
    after = tuple(changing[place + 1 :])
    loaded = LateInteraction(source, after, (), False, None, ()).modules()
    return not without_scale(loaded)[0]


def _refused(source: str, what: str, fix: str) -> ConfigError:
    return ConfigError(
        f"model.pretrained={source}: model.family=multi-vector cannot express {what}; give {fix}"
    )
