"""Group ``strategy``: what a batch holds, which losses are computed and how they are weighted."""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from retrieval.config.knobs import knob, settings
from retrieval.config.registry import Registry
from retrieval.errors import ConfigError

STRATEGIES: Registry[type[Any]] = Registry("strategy.name", "retrieval.training.strategies")
"""Every strategy: a class of :class:`retrieval.training.strategy.Strategy`."""

RULES: Registry[type[Any]] = Registry("strategy.rule", "retrieval.training.omega.rules")
"""Every rule of ω: a class of :class:`retrieval.training.omega.rule.Rule`."""

PERTURBATIONS: Registry[type[Any]] = Registry(
    "strategy.perturbation.kind", "retrieval.training.perturbations"
)
"""Every perturbation: a class of :class:`retrieval.training.perturbation.Perturbation`."""

DEFAULT_RULES = ("proxy", "guarded", "repeats")
"""Rules of ω where nothing is given that another one needs: the first one that can work with the data."""


def _bases() -> tuple[str, ...]:
    return tuple(name for name, kind in STRATEGIES.items() if kind.is_base)


@dataclass
class HardNegativeConfig:
    """Mined negatives of the ``hard-negative`` and ``denoising`` strategies."""

    source: str = knob(
        "bm25", "What mines: bm25, or a run folder, a sentence-transformers folder or a hub id.", content=True
    )
    depth: int = knob(100, "Negatives are drawn from this many top-ranked passages.", minimum=1)
    count: int = knob(1, "Hard negatives of each query in a batch.", minimum=1)
    refresh: int = knob(
        0, "Steps between minings with the model in training; 0: the first mining stays.", minimum=0
    )


@dataclass
class DenoiseConfig:
    """False-negative filter (RocketQA-style) of the ``denoising`` strategy."""

    teacher: str = knob(
        "bm25",
        "What scores: bm25, or a run folder, a sentence-transformers folder or a hub id.",
        content=True,
    )
    margin: str = knob(
        "relative",
        "A negative of score s⁻ is dropped where, beside the positive's s⁺, s⁻ > s⁺ − value (absolute) or "
        "s⁻ > (1 − value)·s⁺ (relative). percentile: one threshold for all queries.",
        choices=("absolute", "relative", "percentile"),
    )
    value: float = knob(0.05, "Size of the margin.", minimum=0)


@dataclass
class PerturbationConfig:
    """Perturbed inputs of the ``adversarial`` strategy and objective."""

    kind: str = knob(
        "fgsm",
        "How passages are perturbed: one gradient step, several, words replaced by gradient (by near ones or "
        "synonyms of a list), random words, queries put into them; or queries, by typing errors.",
        choices=PERTURBATIONS.names,
    )
    epsilon: float = knob(
        0.3, "Norm bound of a passage's perturbation, in mean norms of a word embedding.", above=0
    )
    steps: int = knob(3, "Ascent steps of pgd.", minimum=1)
    rate: float = knob(
        0.15, "Share of the words that substitution, synonyms, noise and typo change.", above=0, maximum=1
    )
    neighbours: int = knob(
        20, "Nearest words that substitution chooses among, and first ones of a list for synonyms.", minimum=1
    )
    side: str = knob("queries", "Texts that typo mistypes.", choices=("queries", "passages", "both"))
    inserted: str = knob(
        "query",
        "What insertion puts into a passage: a query that it does not answer, or its content words shuffled.",
        choices=("query", "keywords"),
    )
    synonyms: str | None = knob(
        None, "JSON file of synonyms that synonyms reads, as attack.synonyms.", content=True
    )


@dataclass
class StrategyConfig:
    """What a batch holds, which losses are computed and how they are weighted."""

    name: str = knob("standard", "Strategy; strategy=NAME sets it.", choices=STRATEGIES.names)
    base: str = knob("standard", "Strategy of the effectiveness loss under pareto.", choices=_bases)
    robust: str = knob(
        "ood",
        "Robustness objective of pareto: robust-training domains, perturbed passages, or both.",
        choices=("ood", "adversarial", "both"),
    )
    mixing: str = knob(
        "steps",
        "How ω acts. steps: each step minimises one loss on a whole batch, the robust one with frequency ω. "
        "loss: each step minimises the sum of both losses, weighted by ω.",
        choices=("steps", "loss"),
    )
    domains: str = knob(
        "turn",
        "Robust-training domains of a robust step: one, in turn, or all pooled.",
        choices=("turn", "pooled"),
    )
    rule: str = knob(
        "auto",
        "How ω moves: docs/omega.md lists the rules. auto: law with mixture, dro with frontier, fixed with "
        "omega; else dro for perturbed passages and proxy for robust=ood (guarded with mixing=loss, or "
        "without in-domain dev pairs; repeats without robust-dev domains).",
        choices=lambda: ("auto", *RULES),
    )
    omega: float | None = knob(
        None,
        "ω of rule=fixed, mean ω of schedule, or another start than the rule's; 0: effectiveness only, "
        "1: robustness only.",
        minimum=0,
        maximum=1,
    )
    mixture: str | None = knob(
        None, "mixture.json of python -m sweeps mixture, which rule=law reads.", content=True
    )
    goal: str = knob(
        "knee",
        "What rule=law aims at: the least sum of both objectives, effectiveness, or robustness.",
        choices=("knee", "eff", "rob"),
    )
    omegas: list[float] = knob([0.0, 0.5], "The low and the high ω of the branches of rule=soup.")
    trunk: float = knob(0.5, "Share of the steps before rule=soup branches.", minimum=0, below=1)
    coefficient: float | None = knob(
        None,
        "Place between the initial (0) and the fine-tuned weights (1) that rule=anchor takes; null: that of "
        "the least dev losses.",
        minimum=0,
        maximum=1,
    )
    schedule: str = knob(
        "constant", "Course of ω under rule=schedule.", choices=("constant", "cool-down", "warm-up", "switch")
    )
    measure_every: int = knob(
        25, "Steps between measurements of dev losses, where the rule asks for them.", minimum=1
    )
    measure_pairs: int = knob(
        256,
        "Dev pairs of each collection that such a measurement takes, in blocks of train.batch_size.",
        minimum=2,
    )
    eta: float = knob(0.1, "Step size of the rules that move ω.", above=0)
    decay: float = knob(
        0.9, "Decay of the moving averages of the two losses; 0: no averaging.", minimum=0, below=1
    )
    omega_min: float = knob(0.01, "Least ω of the rules that move it.", minimum=0, below=1)
    omega_max: float = knob(0.99, "Greatest ω of the rules that move it.", above=0, maximum=1)
    frontier: str | None = knob(
        None,
        "frontier.json of python -m sweeps frontier --dev; gives the target ρ* and the first ω.",
        content=True,
    )
    recalibrate: int = knob(
        0,
        "Steps between measurements of both losses as contrastive entropy on dev pairs; 0: never.",
        minimum=0,
    )
    budget: str = knob(
        "equal",
        "With mixing=loss, pairs of a step: equal to the baseline's, or extra ones for the second loss.",
        choices=("equal", "extra"),
    )
    hard: HardNegativeConfig = field(default_factory=HardNegativeConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)


def check_own_keys(strategy: StrategyConfig, kind: type[Any]) -> None:
    """Refuse values that are not valid of the keys that a strategy or a rule adds.

    Raises:
        ConfigError: the key, the value and the valid ones; or that the key is not there.
    """
    for setting in settings(kind.options) if kind.options is not None else ():
        if not hasattr(strategy, setting.key.partition(".")[0]):
            raise ConfigError(
                f"strategy.{setting.key} is missing, a key of {kind.name}; choose a strategy whose file in "
                f"conf/strategy has {kind.name}_schema among its defaults"
            )
        setting.knob.check(f"strategy.{setting.key}", attrgetter(setting.key)(strategy))


def check_margin(config: DenoiseConfig) -> None:
    """Refuse a margin that is out of range, or without meaning for the teacher.

    Raises:
        ConfigError: it names the valid ones.
    """
    if config.margin != "percentile":
        return
    if not 0 <= config.value <= 1:
        raise ConfigError(
            f"strategy.denoise.value={config.value} is no share; with strategy.denoise.margin=percentile it "
            "must be from 0 to 1"
        )
    if config.teacher == "bm25":
        # A score of BM25 is a sum over the query's words: long queries would lose their lists, and short
        # ones keep every false negative.
        raise ConfigError(
            "strategy.denoise.margin=percentile is one threshold for all queries, and the scores of "
            "strategy.denoise.teacher=bm25 do not compare between queries; valid with it: absolute, "
            "relative; or name a cross-encoder as teacher"
        )
