"""``python -m retrieval.evaluate``: measure a run or any sentence-transformers model as runs are measured.

    python -m retrieval.evaluate --run runs/RUN
    python -m retrieval.evaluate --run runs/RUN eval=full
    python -m retrieval.evaluate --model FOLDER-OR-HUB-ID data=local data.path=FOLDER eval=full
    python -m retrieval.evaluate --model FOLDER-OR-HUB-ID suite=beir-small
    python -m retrieval.evaluate --run runs/RUN data=local data.path=FOLDER --qrels qrels.txt --run-out run
    python -m retrieval.evaluate --run runs/RUN attack=wsra --attacked attack.jsonl
    python -m retrieval.evaluate --run runs/OTHER attack.replay=attack.jsonl
    python -m retrieval.evaluate --model FOLDER-OR-HUB-ID suite=robustness --card card
    python -m retrieval.evaluate --compare card-a card-b

prints the metrics of ``result.json`` under the same keys, reference rows included (``untrained/…`` of a run
alone: the initial weights of any other model are not known), and its ``warnings``. Nothing in a run directory
is changed. With ``suite=robustness`` or ``--card`` the robustness card stands in place of the list.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from retrieval.codes import Finding
from retrieval.config import Config, register_schema
from retrieval.config.attack import attack_names
from retrieval.config.unknown import unknown_key
from retrieval.config.validation import validate
from retrieval.errors import ConfigError
from retrieval.run.directory import stored_config
from retrieval.run.files import write_json
from retrieval.run.funnel import command_status
from retrieval.run.storage import writable_file, writable_folder

if TYPE_CHECKING:
    from retrieval.evaluation.suite import Measured, Reference
    from retrieval.search.retriever import Attackable

CONFIGURATION = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("data", "eval", "attack")
"""Parts of the configuration that a measurement depends on."""

CARD_SUITE = "suite=robustness"
"""The override that asks for the card."""

MISSING_KEY = "no such key"


@dataclass(frozen=True)
class Files:
    """Files of a measurement beside its metrics, where they are asked for."""

    scores: Path | None
    attacked: Path | None
    qrels: Path | None
    run_out: Path | None
    card: Path | None
    card_suite: bool
    """Whether the suite is the card's."""

    @property
    def shows_card(self) -> bool:
        """Whether the card is printed, in place of the metrics."""
        return self.card is not None or self.card_suite


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Overrides as of train.py: data=…, suite=…, eval=…, attack=…, cache=…", show_default=False
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        help="Run directory; its own data, eval and attack, with the keys that overrides name, unless an "
        "override names another option of the group.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None, typer.Option(help="Sentence-transformers folder or hub id.", show_default=False)
]
Temperature = Annotated[
    float, typer.Option(help="Divides the scores of --model; contrastive entropy depends on it.")
]
BatchSize = Annotated[
    int, typer.Option(help="Texts a forward pass of a model that is no BERT; of a BERT, tokens count.")
]
Device = Annotated[str | None, typer.Option(help="Torch device.", show_default="automatic")]
JsonFile = Annotated[
    Path | None,
    typer.Option(help="Write the metrics as JSON.", show_default=False, callback=writable_file),
]
ScoresFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for per-query scores (Parquet).", show_default=False, callback=writable_folder),
]
AttackedFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the attacked passages (JSON lines).", show_default=False, callback=writable_file
    ),
]
QrelsFile = Annotated[
    Path | None,
    typer.Option(
        help="Judgements of the one test set (TREC: qid 0 docid rel) in place of the folder's.",
        show_default=False,
    ),
]
RunFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the ranking of the test set (TREC: qid Q0 docid rank score tag); of several sets one "
        "file each, with {collection} in the name.",
        show_default=False,
        callback=writable_file,
    ),
]

CardFolder = Annotated[
    Path | None,
    typer.Option(
        "--card",
        help="Folder for the robustness card: JSON, Markdown, HTML and scores by query.",
        show_default=False,
        callback=writable_folder,
    ),
]
TwoCards = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--compare", help="Two cards (folders of --card, or their card.json).", show_default=False),
]


def evaluate(
    overrides: Overrides = None,
    run: RunFolder = None,
    model: ModelName = None,
    temperature: Temperature = 1.0,
    batch_size: BatchSize = 64,
    device: Device = None,
    out: JsonFile = None,
    scores: ScoresFolder = None,
    attacked: AttackedFile = None,
    qrels: QrelsFile = None,
    run_out: RunFile = None,
    card: CardFolder = None,
    compare: TwoCards = None,
) -> None:
    """Measure a run (--run) or any sentence-transformers model (--model) on a suite of collections.

    Two cards are held against each other by --compare A B; nothing is measured then.
    """
    if compare is not None:
        _compare(compare, out, measured=run is not None or model is not None or bool(overrides))
        return
    if (run is None) == (model is None):
        raise ConfigError("give either --run RUN or --model FOLDER-OR-HUB-ID")
    if model is not None:
        from retrieval.search.sentence_transformer import check_folder

        check_folder(model, "--model ")
    if temperature <= 0:
        raise ConfigError(f"--temperature {temperature} is out of range; it must be above 0")
    config = _compose(overrides or [], run)
    if attacked is not None and not attack_names(config.attack) and config.attack.replay is None:
        raise ConfigError(f"--attacked {attacked} needs an attack; add attack=wsra or attack.replay=RUN")
    if qrels is not None and not qrels.is_file():
        raise ConfigError(f"--qrels {qrels}: no such file; give a TREC qrels file, or leave it out")
    files = Files(scores, attacked, qrels, run_out, card, CARD_SUITE in (overrides or []))
    metrics, warnings = _measure(config, run, model, temperature, batch_size, device, files)
    for key, value in sorted(metrics.items()) if not files.shows_card else ():
        print(f"{key:48s} {value if isinstance(value, str) else f'{value:.6g}'}")
    if out is not None:
        write_json(out, {**metrics, "warnings": warnings})


PROMPTS = ("model.query_prompt", "model.passage_prompt")
"""The only keys of ``model`` that a measurement reads, of models that are no runs."""


def _check_model_keys(overrides: Sequence[Override], run: Path | None) -> None:
    """Refuse keys of ``model`` that would not be read.

    Raises:
        ConfigError: It names the key and the valid ones.
    """
    valid = PROMPTS if run is None else ()
    for each in overrides:
        key = str(each.key_or_group)
        if key.split(".")[0] == "model" and key not in valid:
            reads = f"valid: {', '.join(valid)}" if valid else "a run is measured as it was trained"
            raise ConfigError(f"{each.input_line} would not be used: the model is what is measured; {reads}")


def _compare(cards: tuple[Path, Path], out: Path | None, *, measured: bool) -> None:
    """Hold two cards against each other, where nothing is to be ``measured``, too."""
    from retrieval.evaluation.card.command import tell_comparison

    if measured:
        raise ConfigError("--compare A B takes two cards and measures nothing; leave out the rest")
    tell_comparison(*cards, out)


def _compose(overrides: list[str], run: Path | None) -> Config:
    """The checked configuration; a run's own groups stand where no override names another option.

    Raises:
        ConfigError: The run or a value in an override is not valid.
    """
    register_schema()
    stored = cast(DictConfig, OmegaConf.create() if run is None else stored_config(run))
    parsed = OverridesParser.create().parse_overrides(overrides)
    _check_model_keys(parsed, run)
    chosen = {str(each.key_or_group) for each in parsed if "." not in str(each.key_or_group)}
    if "suite" in chosen:
        chosen.add("data")
    kept = [group for group in (*GROUPS, "cache") if group in stored and group not in chosen]
    changes = [each for each in parsed if str(each.key_or_group).split(".")[0] in kept]
    others = [str(each.input_line) for each in parsed if each not in changes]
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        composed = compose("config", overrides=others)
    config = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(composed, resolve=True)))
    for group in kept:
        config[group] = stored[group]
    for change in changes:
        _change(config, change)
    validate(config)
    if config.eval.name == "none":
        raise ConfigError("eval=none measures nothing; use eval=quick or eval=full")
    return cast(Config, config)


def _change(config: DictConfig, change: Override) -> None:
    """Set a key of a group that a run has, which need not be the group that the defaults have."""
    key = str(change.key_or_group)
    if OmegaConf.select(config, key, default=MISSING_KEY) == MISSING_KEY:
        raise ConfigError(unknown_key(key))
    if change.is_delete() or change.is_sweep_override():
        raise ConfigError(f"{change.input_line}: a measurement has one value of {key}; write {key}=VALUE")
    OmegaConf.update(config, key, change.value(), merge=False)


def _measure(
    config: Config,
    run: Path | None,
    model: str | None,
    temperature: float,
    batch_size: int,
    device: str | None,
    files: Files,
) -> tuple[dict[str, float | str], list[Finding]]:
    """The metrics and their warnings, which are shown; what ``files`` names is read and written."""
    from retrieval.data import sources
    from retrieval.data.collection import open_collection
    from retrieval.data.quality import findings_of, show
    from retrieval.evaluation import trec
    from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
    from retrieval.evaluation.card.command import card_of, tell_card
    from retrieval.evaluation.findings import findings_of_sets
    from retrieval.evaluation.measuring import Collections, measure_all
    from retrieval.evaluation.progress import shown_steps
    from retrieval.run import hardware
    from retrieval.search.loading import model_retriever, run_retriever
    from retrieval.training.prepared import open_domains

    hardware.quiet()
    cache = Path(config.cache)
    attack = AttackEvaluation.load(config.attack)
    suite = sources.prepare(config.data, cache)
    robust_dev, ood = open_domains(suite.robust_dev, cache), open_domains(suite.ood, cache)
    in_domain = open_collection(suite.in_domain, cache)
    if files.qrels is not None:
        in_domain = trec.judged_by(files.qrels, in_domain, ood)
    collections = Collections(in_domain, robust_dev, ood)
    runs = {} if files.run_out is None else trec.run_files(files.run_out, in_domain, ood)
    retriever: Attackable
    if run is not None:
        retriever = run_retriever(run, device, config.cache, batch_size=batch_size)
    else:
        retriever = model_retriever(
            str(model), config, device, temperature=temperature, batch_size=batch_size
        )
    untrained = _untrained(run, config, device) if run is not None and config.eval.untrained else None
    start = time.perf_counter()
    with shown_steps() as steps:
        measured = measure_all(retriever, collections, config, attack, untrained, steps)
    trec.save_runs(measured.scores, runs, (run or Path(str(model))).resolve().name)
    _save(measured, files)
    warnings = [*findings_of(retriever.read), *findings_of_sets(measured, retriever.precision)]
    show(warnings)
    if files.shows_card:
        card = card_of(measured, str(run or model), warnings, time.perf_counter() - start)
        tell_card(card, measured, files.card)
    return {**measured.metrics, **measured.about}, warnings


def _save(measured: Measured, files: Files) -> None:
    from retrieval.evaluation.adversarial.records import save_attacked
    from retrieval.evaluation.suite import save_scores

    if files.attacked is not None and measured.attacked is not None:
        save_attacked(measured.attacked, files.attacked)
    if files.scores is not None:
        save_scores(measured.scores, files.scores)


def _untrained(run: Path, config: Config, device: str | None) -> Reference:
    """The initial weights of a run as a reference on the collections of ``config``."""
    from retrieval.evaluation.measuring import UntrainedReference
    from retrieval.run import hardware
    from retrieval.search.loading import run_stores

    cell = stored_config(run)
    cell.eval, cell.cache = config.eval, config.cache
    place, precision = hardware.chosen(cell, device)
    return UntrainedReference(cell, run_stores(run, cell), place, precision)


def build() -> typer.Typer:
    """The application with its one command."""
    app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    app.command()(evaluate)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 bad configuration or input."""
    return command_status(build, arguments, "python -m retrieval.evaluate")


if __name__ == "__main__":
    sys.exit(main())
