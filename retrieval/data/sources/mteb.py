"""Retrieval tasks of mteb: ``mteb/TASK`` or ``mteb/TASK/SUBSET`` in a role, and ``data=mteb data.task=…``.

mteb downloads a task's data once into the cache of ``datasets``, at the revision that it pins; from there the
evaluated split is written as a BEIR folder. Tasks are tests: they have no training judgements here, whatever
their data hold. Code of a dataset is never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from retrieval.config.data import SOURCES, DataConfig
from retrieval.config.knobs import knob
from retrieval.config.unknown import suggestion
from retrieval.data import index, records
from retrieval.data.cache import digest
from retrieval.data.sources import references
from retrieval.errors import ConfigError, DataError, DownloadError, first_line

VERSION = 1
TEST = "test"


@dataclass
class MtebConfig(DataConfig):
    """A retrieval task of mteb: ``data=mteb data.task=NAME``."""

    name: str = "mteb"
    task: str | None = knob(None, "Name of the task, or NAME/SUBSET of one with several.")


@dataclass(frozen=True)
class Task(references.Reference):
    """A reference to a task, or to a subset of one."""

    kind = "mteb"
    task: Any
    """Of mteb, without its data."""
    subset: str
    several: bool = False
    """Whether the task has several subsets."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The evaluated split is called ``test``, whatever its name in mteb."""
        return (TEST,)

    @property
    def evaluated(self) -> str:
        """mteb's name of the split: ``test``, or the first one that it evaluates."""
        names = [str(name) for name in self.task.metadata.eval_splits]
        return TEST if TEST in names else names[0]

    def fingerprint(self, cache: Path | None) -> str:
        """Hash of the data's place and pinned revision, of split and subset, and of the rules of writing."""
        data = {key: str(self.task.metadata.dataset.get(key)) for key in ("path", "name", "revision")}
        rules = [self.evaluated, self.subset, bool(self.task.ignore_identical_ids), VERSION]
        return digest({"mteb": self.task.metadata.name, "data": data, "rules": rules})

    def build(self, folder: Path, cache: Path) -> None:
        """Write the evaluated split."""
        write(self._load(), folder, str(self), drop_identical=bool(self.task.ignore_identical_ids))

    def _load(self) -> Any:
        import datasets

        datasets.disable_progress_bars()
        task, name = self.task, self.task.metadata.name
        try:
            if hasattr(task, "filter_eval_splits"):
                task.filter_eval_splits([self.evaluated])
            if self.several:
                task.hf_subsets = [self.subset]  # it would load them all
            task.load_data()
            task.convert_v1_dataset_format_to_v2(num_proc=None)
        except Exception as error:  # whatever the loader of a task and the libraries below it raise
            raise DownloadError(
                f"cannot load the task {self} ({first_line(error)}): load it once where there is a network "
                f"(python -c 'import mteb; mteb.get_task(\"{name}\").load_data()'), and bring the cache of "
                "datasets here (HF_HOME names its folder)"
            ) from error
        try:
            return task.dataset[self.subset][self.evaluated]
        except KeyError:
            raise DataError(f"{self}: its data lack the split {self.evaluated} of {self.subset}") from None

    def __str__(self) -> str:
        name = self.task.metadata.name
        return f"mteb/{name}/{self.subset}" if self.several else f"mteb/{name}"


def reference(config: DataConfig, name: str, key: str) -> Task:
    """The task ``NAME`` or ``NAME/SUBSET``.

    Raises:
        ConfigError: mteb is not installed, has no such task or subset, or the task is none of text retrieval.
    """
    try:
        import mteb
    except ImportError:
        raise ConfigError(f"{key}: mteb/{name} needs mteb: pip install 'paretrieve[mteb]'") from None
    title, _, subset = name.partition("/")
    try:
        task: Any = mteb.get_task(title)
    except KeyError:
        known = [str(each.metadata.name) for each in _text_tasks(mteb)]
        raise ConfigError(
            f"{key}: mteb/{title} is not known{suggestion(title, known)}; mteb {mteb.__version__} has "
            f"{len(known)} retrieval tasks on texts (mteb.get_tasks lists them)"
        ) from None
    _check(task, key)
    subsets = _subsets(task)
    if len(subsets) == 1 and not subset:
        return Task(title, task, subsets[0])
    if subset not in subsets:
        said = f"has no subset {subset!r}" if subset else "has several subsets"
        raise ConfigError(
            f"{key}: mteb/{title} {said}; name one as mteb/{title}/SUBSET: {', '.join(subsets)}"
        )
    return Task(f"{title}-{subset}", task, subset, several=len(subsets) > 1)


def _text_tasks(mteb: Any) -> Iterable[Any]:
    return cast(
        Iterable[Any],
        mteb.get_tasks(task_types=["Retrieval"], modalities=["text"], exclusive_modality_filter=True),
    )


def _subsets(task: Any) -> list[str]:
    return [str(name) for name in task.hf_subsets or ["default"]]


def _check(task: Any, key: str) -> None:
    """Refuse what is no retrieval of texts from a corpus."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    about = task.metadata
    if not isinstance(task, AbsTaskRetrieval) or "Retrieval" not in about.type:
        # An aggregate has a retrieval task's type, and no data of its own.
        parts = getattr(task, "tasks", None) or getattr(about, "tasks", None)
        names = ", ".join(
            str(part.metadata.name if hasattr(part, "metadata") else part) for part in parts or []
        )
        reason = f"joins several tasks; name them: {names}" if names else f"is a task of {about.type}"
        raise ConfigError(f"{key}: mteb/{about.name} is no retrieval task: it {reason}")
    if list(about.modalities) != ["text"]:
        raise ConfigError(
            f"{key}: mteb/{about.name} holds {', '.join(about.modalities)}; only texts are read"
        )
    if about.dataset.get("trust_remote_code"):
        raise ConfigError(f"{key}: mteb/{about.name} runs code of its dataset, which is never done here")


def write(data: Any, folder: Path, name: str, *, drop_identical: bool) -> None:
    """Write a split of mteb's (``corpus``, ``queries``, ``relevant_docs``, ``top_ranked``) as a BEIR folder.

    Raises:
        DataError: it ranks given candidates, its queries have instructions, or a text is none.
    """
    if data.get("top_ranked"):
        raise DataError(f"{name} ranks given candidates of each query, not the corpus; choose another task")
    if "instruction" in data["queries"].column_names:
        raise DataError(f"{name} has an instruction in each query, which no run reads; choose another task")
    (folder / "qrels").mkdir(parents=True)
    with (folder / index.CORPUS).open("w", encoding="utf-8") as file:
        for row in data["corpus"]:
            _line(file, name, row["id"], text=row["text"], title=row.get("title") or "")
    judged = data["relevant_docs"]
    with (folder / index.QUERIES).open("w", encoding="utf-8") as file:
        for row in data["queries"]:
            # As mteb does, which asks only these.
            if judged.get(str(row["id"])):
                _line(file, name, row["id"], text=row["text"])
    with (folder / "qrels" / f"{TEST}.tsv").open("w", encoding="utf-8") as file:
        file.write("\t".join(records.QRELS_HEADER) + "\n")
        for query, grades in judged.items():
            file.writelines(f"{query}\t{passage}\t{int(grade)}\n" for passage, grade in grades.items())
    (folder / index.ABOUT).write_text(json.dumps({"drop_identical": drop_identical}), encoding="utf-8")


def _line(file: Any, name: str, identifier: Any, **texts: Any) -> None:
    for key, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{name}: the {key} of {identifier} is a {type(text).__name__}, not a text")
    file.write(json.dumps({"_id": str(identifier), **texts}, ensure_ascii=False) + "\n")


def _in_domain(config: DataConfig) -> Task:
    name = cast(MtebConfig, config).task
    if not name:
        raise ConfigError("data=mteb needs data.task=NAME, a retrieval task such as NanoNFCorpusRetrieval")
    return reference(config, name, "data.task")


SOURCES.register(
    "mteb",
    references.referenced_source(
        MtebConfig,
        "data.task",
        _in_domain,
        reference=reference,
        label=lambda config: config.task.replace("/", "-") if config.task else None,
    ),
)
