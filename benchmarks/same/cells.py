"""The cells that are trained at both commits: overrides of ``train.py``, a few seconds each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.errors import ConfigError

DATA = (
    "data=synthetic",
    "data.passages=300",
    "data.queries=200",
    "data.topics=10",
    "data.words=300",
    "data.vocabulary=400",
)
LOCAL = (
    "data=local",
    "data.path={collection}/inside",
    "data.robust=[{collection}/robust]",
    "data.robust_dev=[{collection}/robust-dev]",
    "data.ood=[{collection}/outside]",
    "data.vocabulary=400",
)
MEASURE = ("eval.pool=150", "eval.negatives=32", "eval.draws=2")
COMMON = (
    "model=bert-tiny",
    "model.hidden=64",
    "train.steps=12",
    "train.batch_size=8",
    "train.precision=32",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.log_every=1",
    "trainer.progress=false",
    "logger=none",
)
"""Of every training. The precision is named, because ``auto`` depends on the machine."""
BF16 = "train.precision=bf16"
PARETO = ("strategy=pareto", "data.frac=0.2", "strategy.measure_every=3", "strategy.measure_pairs=32")
"""Few pairs, so that rules that count repetitions raise ω."""
ATTACK = (
    "attack=wsra",
    "attack.queries=4",
    "attack.first_rank=21",
    "attack.last_rank=50",
    "attack.min_cosine=-1",
    "attack.candidates=3",
    "attack.tries=5",
)


@dataclass(frozen=True)
class Cell:
    """One training, or one measurement of an exported model."""

    name: str
    about: str
    own: tuple[str, ...]
    """Overrides; ``{collection}`` is the folder of the local collection, ``{NAME}`` a finished cell's run."""
    data: tuple[str, ...] = DATA
    needs: str | None = None
    """Cell whose run this one reads."""
    trains: bool = True
    """``train.py``; otherwise ``python -m retrieval.evaluate``."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """All overrides of the command, without those of the places where it reads and writes."""
        return (*(COMMON if self.trains else ()), *self.data, *MEASURE, *self.own)


CELLS = (
    Cell("standard", "in-batch negatives, fp32", ()),
    Cell("bf16", "the path for bf16, with dropout", (BF16, "model.dropout=0.1")),
    Cell(
        "hard-negative",
        "mined by BM25, then by the model",
        ("strategy=hard-negative", "strategy.hard.refresh=6"),
    ),
    Cell("denoising", "mined negatives without false ones", ("strategy=denoising", "strategy.hard.count=2")),
    Cell("adversarial", "perturbed passages, bf16", ("strategy=adversarial", BF16)),
    Cell("pooled", "all pairs as one collection", ("strategy=pooled",)),
    Cell("pareto-guarded", "ω by the guarded rule, dev losses measured", (*PARETO, "strategy.rule=guarded")),
    Cell(
        "pareto-fixed",
        "fixed ω; perturbed words, other domains, mined negatives",
        (
            *PARETO,
            "strategy.rule=fixed",
            "strategy.omega=0.5",
            "strategy.robust=both",
            "strategy.base=hard-negative",
            "strategy.perturbation.kind=substitution",
        ),
    ),
    Cell(
        "pareto-loss",
        "both losses in every step, ω by dro",
        (*PARETO, "strategy.mixing=loss", "strategy.rule=dro", BF16),
    ),
    Cell("pareto-soup", "two branches, their weights averaged", (*PARETO, "strategy.rule=soup")),
    Cell("caching", "gradient caching, four texts at a time", ("train.mini_batch_size=4",)),
    Cell("devices", "two processes", (*PARETO, "strategy.rule=guarded", "trainer.devices=2")),
    Cell("local", "BEIR folders, whole corpora ranked, untrained row", ("eval=full", "eval.shard=64"), LOCAL),
    Cell("attack", "word substitution", ATTACK),
    Cell(
        "pretrained",
        "starts from the exported model of another cell",
        ("model.init=pretrained", "model.pretrained={standard}/model"),
        needs="standard",
    ),
    Cell(
        "evaluate",
        "retrieval.evaluate of an exported model on the BEIR folders",
        ("--model={standard}/model", "--temperature=0.1", "--device=cpu", "trainer.threads=1"),
        LOCAL,
        needs="standard",
        trains=False,
    ),
)


def chosen(names: Sequence[str]) -> list[Cell]:
    """The cells of these names, and those that they read, in the order of :data:`CELLS`.

    Raises:
        ConfigError: There is no cell of a name.
    """
    known = {cell.name: cell for cell in CELLS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no cell {unknown[0]!r}; --list shows them")
    wanted = {known[name] for name in names}
    wanted |= {known[cell.needs] for cell in wanted if cell.needs is not None}
    return [cell for cell in CELLS if cell in wanted]
