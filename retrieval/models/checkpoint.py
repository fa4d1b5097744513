"""What a checkpoint holds beside its backbone: the modules, prompts and similarity of sentence-transformers.

A folder or hub id is a plain checkpoint of transformers, or has a ``modules.json``; in old layouts the
transformer is in a module folder.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from retrieval.config import ModelConfig
from retrieval.errors import ConfigError, first_line

AFTER_POOLING = ("Dense", "Normalize", "LayerNorm", "Dropout")
"""Modules between pooling and the vector that training goes on with."""


VECTORS = "SentenceTransformer"
"""The kind of model that gives each text a vector."""

ADAPTER = "adapter_config.json"
"""The file that makes a folder one of an adapter, by peft's name."""

TRANSFORMERS = ("Transformer", "MLMTransformer")
"""First modules that are a model of transformers; the second is an old name of one with its head."""

WITH_FILES = ("Transformer", "Pooling", "Dense", "LayerNorm")
"""Modules that are nothing without their folder."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder or hub id, read but for its weights."""

    source: str
    """As it was named."""
    backbone: str
    """Folder or hub id of the transformer and its tokenizer."""
    pooling: tuple[str, ...] = ("mean",)
    """Modes of sentence-transformers' Pooling; the vectors of several are put one after another."""
    after: tuple[tuple[str, str], ...] = ()
    """Names and folders of the modules after pooling, of :data:`AFTER_POOLING`."""
    prompts: tuple[str, str] = ("", "")
    """Text before each query, and before each passage."""
    similarity: str | None = None
    lengths: tuple[int | None, int | None] | None = None
    """Tokens that a query and a passage keep, ``None`` where that is left to the tokenizer."""
    listed: tuple[tuple[str, str], ...] = ()
    """Names and folders of all modules after the transformer."""
    left: tuple[str, ...] = ()
    """What the folder has and no run can express, in words."""

    def modules(self) -> list[nn.Module]:
        """Load the modules after pooling: each maps ``features["sentence_embedding"]``, float32[n, d].

        Raises:
            ConfigError: A module cannot be loaded.
        """
        from sentence_transformers.sentence_transformer import modules as library

        try:
            return [getattr(library, name).load(self.source, subfolder=place) for name, place in self.after]
        except Exception as error:  # every library that reads a file has errors of its own
            raise unreadable(self.source, error) from error


def kind_of(source: str) -> str:
    """What a folder or hub id holds, in sentence-transformers' words: ``CrossEncoder``, ``SparseEncoder``, ….

    A plain checkpoint of transformers that classifies sequences is a CrossEncoder, any other a
    SentenceTransformer.

    Raises:
        ConfigError: The hub cannot be reached and the model is not cached.
    """
    settings = read_settings(source, "config_sentence_transformers.json")
    if "model_type" in settings:
        return str(settings["model_type"])
    kinds = read_settings(source, "config.json").get("architectures") or []
    plain = not settings and not read_settings(source, "modules.json")
    scores = plain and any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
    return "CrossEncoder" if scores else VECTORS


def check_parts(source: str) -> None:
    """Refuse a folder that lacks a part, before libraries fail over it in words of their own.

    Raises:
        ConfigError: There is no such folder, it holds no checkpoint or an adapter without its base model or
            without peft, or a module's folder is missing.
    """
    place = Path(source)
    if not place.is_dir():
        if place.is_file() or source.startswith(("/", "./", "../", "~")):
            what = "is a file" if place.is_file() else "no such folder"
            raise ConfigError(f"{source}: {what}; give the folder of a checkpoint, or a hub id")
        return
    if not any((place / name).is_file() for name in _FIRST_FILES):
        raise ConfigError(f"{source}: no checkpoint, for it holds no config.json; {_elsewhere(place)}")
    if (place / ADAPTER).is_file():
        _check_adapter(source)
    for module in read_settings(source, "modules.json") or []:
        folder = str(module.get("path") or "")
        name = str(module["type"]).rsplit(".", 1)[-1]
        if name in WITH_FILES and not (place / folder).is_dir():
            raise ConfigError(
                f"{source}: modules.json names the folder {folder} of its {name}, which is missing; copy "
                "the model again with its subfolders"
            )


_FIRST_FILES = ("config.json", "modules.json", ADAPTER, "0_Transformer/config.json")
"""A folder without any of them holds no checkpoint."""


def _elsewhere(place: Path) -> str:
    """What to do about a folder that holds no checkpoint, by what it holds."""
    if any(place.glob("*.gguf")):
        return "a GGUF file is for llama.cpp: give the folder of the model that it was made from"
    # A run exports its model; the hub's cache and unpacked archives keep it deeper.
    patterns = ("model/config.json", "snapshots/*/config.json", "*/modules.json", "*/config.json")
    inner = next((path.parent for pattern in patterns for path in sorted(place.glob(pattern))), None)
    return f"is it {inner}?" if inner else "give the folder of a checkpoint, or a hub id"


def _check_adapter(source: str) -> None:
    base = read_settings(source, ADAPTER).get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"{source}: an adapter alone; merge it into its base model (merge_and_unload of peft), save that"
        )
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise ConfigError(
            f"{source}: an adapter of {base}, which is missing; set base_model_name_or_path in its {ADAPTER} "
            "to where its base model is"
        )
    if find_spec("peft") is None:
        raise ConfigError(f"{source}: an adapter, which needs peft; pip install 'paretrieve[lora]'")


def base_of(source: str) -> str:
    """Folder or hub id that has the ``config.json`` of a checkpoint: of an adapter alone, its base model."""
    place = Path(source)
    if not (place / ADAPTER).is_file() or (place / "config.json").is_file():
        return source
    return str(read_settings(source, ADAPTER)["base_model_name_or_path"])


def name_own_base(folder: Path) -> None:
    """Let a copied folder that has adapters and their base model name itself as the base; others are left."""
    place = folder / ADAPTER
    if not place.is_file() or not (folder / "config.json").is_file():
        return
    settings = json.loads(place.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = str(folder.resolve())
    place.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


@cache
def read_checkpoint(source: str) -> Checkpoint:
    """Read what the folder or hub id ``source`` holds.

    Raises:
        ConfigError: It begins with no transformer, or a file of it is missing or cannot be read.
    """
    check_parts(source)
    kind = kind_of(source)
    listed = read_settings(source, "modules.json")
    if not listed:
        inner = Path(source) / "0_Transformer"
        place = str(inner) if (inner / "config.json").is_file() else source
        return Checkpoint(source, place, _plain_pooling(source), left=tuple(_head(kind)))
    modules = [(str(each["type"]).rsplit(".", 1)[-1], str(each.get("path") or "")) for each in listed]
    (first, place), *others = modules
    if first not in TRANSFORMERS:
        raise ConfigError(
            f"{source}: its first module is {first}, no transformer that can be trained; "
            "give another checkpoint"
        )
    pooling: tuple[str, ...] = ("mean",)
    left: list[str] = []
    after: list[tuple[str, str]] = []
    for name, folder in others:
        if name == "Pooling":
            pooling, reason = _pooling(source, folder)
            left += reason
        elif name in AFTER_POOLING and _of_vectors(source, folder):
            after.append((name, folder))
        else:
            left.append(f"module {name}")
    own = read_settings(source, "config_sentence_transformers.json")
    left += _head(kind)
    basic = read_settings(source, f"{place}/sentence_bert_config.json".lstrip("/"))
    if basic.get("do_lower_case"):
        left.append("do_lower_case")
    if basic.get("max_seq_length"):
        left.append(
            f"max_seq_length={basic['max_seq_length']} (data.max_query_length and …passage_length count)"
        )
    return Checkpoint(
        source,
        str(Path(source) / place) if place and Path(source).is_dir() else source,
        pooling,
        tuple(after),
        _prompts(own, kind),
        own.get("similarity_fn_name"),
        _lengths(basic),
        tuple(others),
        tuple(left),
    )


def checkpoint_of(config: ModelConfig) -> Checkpoint | None:
    """The checkpoint that a configuration starts from; ``None`` from scratch. Raises as the above."""
    return read_checkpoint(str(config.pretrained)) if config.init == "pretrained" else None


def prompts_of(config: ModelConfig, checkpoint: Checkpoint | None) -> tuple[str, str]:
    """Text before each query and each passage: the configuration's, else the checkpoint's, else none."""
    query, passage = ("", "") if checkpoint is None else checkpoint.prompts
    return (
        query if config.query_prompt is None else config.query_prompt,
        passage if config.passage_prompt is None else config.passage_prompt,
    )


def read_settings(source: str, name: str) -> Any:
    """Read a JSON file of a folder or hub id; an empty dictionary where there is none.

    Raises:
        ConfigError: The hub cannot be reached and has not said before whether there is one, or it is no JSON.
    """
    try:
        path = _path_of(source, name)
        return {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:
        remedy = (
            "mend the file, or copy the folder again"
            if Path(source).is_dir()
            else "give a folder, or the id of a model that the hub has and lets you read (hf auth login)"
        )
        raise ConfigError(f"{source}: {name} cannot be read: {first_line(error)}; {remedy}") from error


def _path_of(source: str, name: str) -> Path | None:
    """A file of a folder or hub id; ``None`` where it is known that there is none."""
    if Path(source).exists():
        return path if (path := Path(source) / name).is_file() else None
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, name))
    except LocalEntryNotFoundError:
        # A hub that does not answer says nothing of the file; an earlier answer does.
        if try_to_load_from_cache(source, name) is _CACHED_NO_EXIST:
            return None
        raise
    except (EntryNotFoundError, HFValidationError):
        return None


def hub_commit(source: str) -> str | None:
    """The commit of a hub id whose files are in the cache; ``None`` for a folder, or where none is there."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).exists():
        return None
    found = try_to_load_from_cache(source, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


def unreadable(source: str, error: Exception) -> ConfigError:
    """The error for a checkpoint that a library could not load, whatever the library raised."""
    return ConfigError(
        f"model.pretrained={source}: cannot load it ({first_line(error) or type(error).__name__}). "
        "Give a folder with config.json, model.safetensors and tokenizer.json, or a hub id that is cached or "
        "reachable; if a file is damaged or a Git LFS pointer, download it again"
    )


def _plain_pooling(source: str) -> tuple[str, ...]:
    """The pooling that sentence-transformers gives a plain checkpoint."""
    settings = read_settings(source, "config.json")
    kinds = settings.get("architectures") or [""]
    causal = str(kinds[0]).endswith("ForCausalLM") and settings.get("is_causal", True)
    return ("lasttoken",) if causal else ("mean",)


def _pooling(source: str, folder: str) -> tuple[tuple[str, ...], list[str]]:
    """The modes of a Pooling module, old names included, and what of it is left."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    try:
        module = Pooling.load(source, subfolder=folder)
    except Exception as error:
        raise unreadable(source, error) from error
    mode = module.pooling_mode
    names = (mode,) if isinstance(mode, str) else tuple(mode)
    return names, [] if module.include_prompt else ["Pooling without the tokens of the prompt"]


def _lengths(settings: dict[str, Any]) -> tuple[int | None, int | None] | None:
    both = settings.get("max_seq_length")
    expansion = settings.get("query_expansion") or {}
    query = expansion.get("length") if expansion.get("strategy") == "fixed" else None
    found = query or settings.get("query_length", both), settings.get("document_length", both)
    return None if found == (None, None) else found


def _head(kind: str) -> list[str]:
    return [] if kind == VECTORS else [f"the head of a {kind}"]


def _of_vectors(source: str, folder: str) -> bool:
    settings = read_settings(source, f"{folder}/config.json")
    return str(settings.get("module_input_name", "sentence_embedding")) == "sentence_embedding"


def _prompts(settings: dict[str, Any], kind: str) -> tuple[str, str]:
    """Prompts of queries and of passages, as ``encode_query`` and ``encode_document`` choose them.

    All but a CrossEncoder know the names ``query`` and ``document`` from the start, with no text, so the
    other names of passages and the default prompt are not asked.
    """
    preset = {} if kind == "CrossEncoder" else {"query": "", "document": ""}
    known: dict[str, str] = preset | (settings.get("prompts") or {})
    default = known.get(str(settings.get("default_prompt_name"))) or ""
    named = (known[name] for name in ("document", "passage", "corpus") if name in known)
    return known.get("query", default) or "", next(named, default) or ""
