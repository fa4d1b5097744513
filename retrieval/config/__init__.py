"""The typed schema of everything in ``conf/``.

Hydra checks types and key names against these dataclasses; :mod:`retrieval.config.validation` checks the
values and how they fit together. Nothing heavy is imported here, so that ``--help`` and a
configuration error answer at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from omegaconf import MISSING, DictConfig, OmegaConf

from retrieval.config.beir_sets import BEIR_SETS
from retrieval.config.data import SCHEMAS, BeirConfig, DataConfig


@dataclass
class ModelConfig:
    """The scorer. ``layers`` and ``hidden`` span the 24-checkpoint BERT grid."""

    family: str = "dual-encoder"
    """What the model encodes a text to and how it scores, by name: ``dual-encoder`` (one vector)."""
    layers: int = 4
    hidden: int = 256
    heads: int | None = None
    """Attention heads; ``None`` means one per 64 hidden units."""
    intermediate: int | None = None
    """Width of the feed-forward layer; ``None`` means 4 × hidden."""
    init: str = "${data.default_init}"
    """``scratch`` (random weights, tokenizer trained on the collection) or ``pretrained``."""
    pretrained: str | None = "${data.default_pretrained}"
    """Hugging Face hub id or local folder; needed (and only used) with ``init=pretrained``."""
    pooling: str = "mean"
    projection: int = 768
    """Output dimension of the linear projection; 0 leaves the pooled vector as it is."""
    similarity: str = "cosine"
    temperature: float = 0.1
    """Scores are divided by it; 1 with ``similarity=dot`` is the setting of arXiv 2403.18684."""
    dropout: float = 0.0


@dataclass
class HardNegativeConfig:
    """Mined negatives of the ``hard-negative`` and ``denoising`` strategies."""

    source: str = "bm25"
    """``bm25``, or a run folder / sentence-transformers folder or hub id to mine with."""
    depth: int = 100
    """Negatives are drawn from this many top-ranked passages."""
    count: int = 1
    """Hard negatives per query in a batch."""
    refresh: int = 0
    """Re-mine with the model in training every so many steps; 0 = never."""


@dataclass
class DenoiseConfig:
    """False-negative filter (RocketQA-style) of the ``denoising`` strategy."""

    teacher: str = "bm25"
    margin: str = "relative"
    """``absolute`` (s⁻ > s⁺ − value), ``relative`` (s⁻ > (1 − value)·s⁺) or ``percentile``."""
    value: float = 0.05


@dataclass
class PerturbationConfig:
    """Adversarial inputs of the ``adversarial`` strategy and objective."""

    kind: str = "fgsm"
    """``fgsm``, ``pgd``, ``substitution`` (gradient-guided) or ``noise`` (random words)."""
    epsilon: float = 0.3
    """Norm bound of a passage's embedding perturbation, in mean norms of a word embedding."""
    steps: int = 3
    """Ascent steps of ``pgd``."""
    rate: float = 0.15
    """Share of words replaced by ``substitution`` and ``noise``."""
    neighbours: int = 20
    """Nearest words by embedding that ``substitution`` chooses among."""


@dataclass
class StrategyConfig:
    """What a batch holds, which losses are computed and how they are weighted."""

    name: str = "standard"
    base: str = "standard"
    """Strategy of the effectiveness loss under ``pareto``."""
    robust: str = "ood"
    """Robustness objective of ``pareto``: ``ood``, ``adversarial`` or ``both``."""
    mixing: str = "steps"
    """How ω acts. ``steps``: each step minimises one loss on a whole batch, the robust one with frequency ω.
    ``loss``: each step minimises the sum of both losses, weighted by ω."""
    domains: str = "turn"
    """Robust-training domains of a robust step: one, in ``turn``, or all ``pooled``."""
    rule: str = "auto"
    """How ω moves: docs/omega.md lists the rules. ``auto``: ``law`` with ``mixture``, ``dro`` with
    ``frontier``, ``fixed`` with ``omega``; else ``guarded`` or, without robust-dev domains, ``repeats`` for
    ``robust=ood``, and ``dro`` for perturbed passages."""
    omega: float | None = None
    """ω of the ``fixed`` rule, mean ω of ``schedule``, or another start than the rule's."""
    mixture: str | None = None
    """``mixture.json`` of ``python -m sweeps mixture``, which ``rule=law`` reads."""
    goal: str = "knee"
    """What ``rule=law`` aims at: ``knee`` (least sum of both objectives), ``eff`` or ``rob``."""
    omegas: list[float] = field(default_factory=lambda: [0.0, 0.5])
    """The low and the high ω of the branches of ``rule=soup``."""
    trunk: float = 0.5
    """Share of the steps before ``rule=soup`` branches."""
    schedule: str = "constant"
    """Course of ω under ``rule=schedule``: ``constant``, ``cool-down``, ``warm-up`` or ``switch``."""
    measure_every: int = 25
    """Steps between measurements of dev losses, where the rule asks for them."""
    measure_pairs: int = 256
    """Dev pairs of each collection that such a measurement takes, in blocks of ``train.batch_size``."""
    eta: float = 0.1
    decay: float = 0.9
    """Decay of the moving averages of the two losses."""
    omega_min: float = 0.01
    omega_max: float = 0.99
    frontier: str | None = None
    """``frontier.json`` of ``python -m sweeps frontier``; gives ρ* and ω₀."""
    recalibrate: int = 0
    """Measure both losses as contrastive entropy on dev pairs every so many steps; 0 = never."""
    budget: str = "equal"
    """With ``mixing=loss``. ``equal``: a step sees as many pairs as the baseline's; ``extra``: more."""
    hard: HardNegativeConfig = field(default_factory=HardNegativeConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)


@dataclass
class TrainConfig:
    """Optimisation; part of a run's identity."""

    steps: int = 150
    batch_size: int = 64
    """Query-passage pairs a step."""
    mini_batch_size: int | None = None
    """Texts encoded at a time; gradients stay those of the whole batch. ``None``: all at once."""
    lr: float | None = None
    """Peak learning rate; ``None`` scales with the width: see docs/method.md."""
    embedding_lr: float | None = None
    """Peak learning rate of the embeddings; ``None``: ``lr``, but not scaled where ``lr`` is chosen."""
    warmup: float = 0.1
    """Share of the steps with rising learning rate; linear decay to zero follows."""
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: str = "auto"
    """``32``, ``bf16``, or ``auto``: bf16 where the hardware multiplies it fast."""


@dataclass
class EvalConfig:
    """Measurement; part of a run's identity."""

    name: str = "quick"
    max_queries: int | None = 1000
    """Test queries per collection; ``None`` = all."""
    pool: int | None = 2000
    """Candidate passages per collection (all relevant ones included); ``None`` = whole corpus."""
    shard: int = 65536
    """Candidates encoded and ranked at a time: bounds the memory, and changes results by rounding alone."""
    negatives: int = 256
    """W of the contrastive entropy."""
    draws: int = 10
    seed: int = 1
    bm25: bool = True
    """Reference row ``bm25/…``: the lexical baseline."""
    untrained: bool = False
    """Reference row ``untrained/…``: the initial weights of the run."""


@dataclass
class AttackConfig:
    """Word-substitution ranking attack on the in-domain test set; part of a run's identity."""

    name: str = "none"
    """``none`` or ``wsra``."""
    replay: str | None = None
    """Run folder or ``attack.jsonl`` whose attacked passages are measured; nothing is searched then."""
    queries: int = 50
    """Test queries that are attacked."""
    targets: int = 5
    """Passages promoted for each query: one from each of so many equal blocks of the ranks below."""
    first_rank: int = 51
    last_rank: int = 100
    words: int = 10
    """m: words replaced in a passage at most."""
    tries: int | None = 20
    """Words tried in a passage, most important first; ``None`` = all, until m are replaced."""
    synonyms: str = "embedding"
    """``embedding`` (neighbours among the model's word embeddings), or a JSON file of synonyms."""
    candidates: int = 8
    """Synonyms tried for a word."""
    min_cosine: float = 0.0
    """Least cosine of a neighbour with ``synonyms=embedding``; near 0.2 are those of short trainings."""
    importance: str = "gradient"
    """Order of the words: ``gradient`` norm of their embedding rows, or ``random``."""
    surrogate: str | None = None
    """Run folder, or sentence-transformers folder or hub id, that lends gradients and embeddings in place
    of the attacked model, which is then asked for scores only."""
    accept: str = "rank"
    """A replacement stays when the ``rank`` strictly improves, or already when the ``score`` does."""
    similarity: float = 0.0
    """Least cosine between the vectors of the original and the attacked passage."""
    similarity_model: str | None = None
    """Sentence-transformers folder or hub id that judges it; ``None`` = the attacked model."""
    seed: int = 1


@dataclass
class TrainerConfig:
    """Where and how a run executes; never part of its identity."""

    accelerator: str = "auto"
    devices: int = 1
    threads: int | None = None
    """CPU threads of this run; ``None`` = all, or what the launcher assigns."""
    log_every: int = 10
    checkpoint_every: int = 50
    """Steps between checkpoints, ..."""
    checkpoint_seconds: float = 20.0
    """... but never more often than this."""
    progress: bool = True


@dataclass
class LoggerConfig:
    """Mirror of the run directory; the run directory stays the source of truth."""

    name: str = "wandb"
    project: str = "paretrieve"
    group: str | None = None
    """``None`` = one group per sweep."""
    tags: list[str] = field(default_factory=list)
    timeout: int = 10
    """Seconds to wait for the W&B server before the run is logged offline."""


@dataclass
class SweepConfig:
    """Which cells a sweep (``-m``) has beside, or instead of, all combinations; no part of a run."""

    cells: str | None = None
    """CSV file of cells: a row each, columns are keys; crossed with what the command line sweeps."""
    where: str | None = None
    """Keep cells for which it is true, such as ``size/params_total < 2e8 and strategy == 'pareto'``."""


@dataclass
class Config:
    """One cell of a sweep."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    strategy: StrategyConfig = MISSING
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = MISSING
    attack: AttackConfig = field(default_factory=AttackConfig)
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: int = 1
    runs: str = "runs"
    cache: str = ".cache/paretrieve"
    fail_fast: bool = False


DEFAULT_RULES = ("guarded", "repeats")
"""Rules of ω where nothing is given that another one needs: with robust-dev domains, and without."""


def chosen_rule(strategy: StrategyConfig, robust_dev: bool) -> str:
    """The rule of ω that ``strategy.rule`` stands for; ``robust_dev``: whether there are such domains."""
    if strategy.rule != "auto":
        return strategy.rule
    given = (("law", strategy.mixture), ("dro", strategy.frontier), ("fixed", strategy.omega))
    # Perturbed passages are those of in-domain pairs: that a pair is repeated says nothing about them.
    default = DEFAULT_RULES[0 if robust_dev else 1] if strategy.robust == "ood" else "dro"
    return next((rule for rule, value in given if value is not None), default)


def complete(stored: DictConfig) -> None:
    """Give a run's stored configuration, in place, the measurement keys that came after the run, at defaults.

    Their defaults measure what was measured before there were such keys.
    """
    if "model" in stored and "family" not in stored.model:
        stored.model.family = ModelConfig.family
    if "data" in stored and "robust_dev" not in stored.data:
        stored.data.robust_dev = []
    for name, schema in (("eval", EvalConfig), ("attack", AttackConfig)):
        if name in stored:
            stored[name] = OmegaConf.merge(asdict(schema()), stored[name])


MODEL_NAMES: dict[tuple[int, int], str] = {
    (2, 128): "bert-tiny",
    (4, 256): "bert-mini",
    (4, 512): "bert-small",
    (8, 512): "bert-medium",
    (12, 768): "bert-base",
    (24, 1024): "bert-large",
}


def model_name(model: ModelConfig) -> str:
    """Name of a model in run names and results: ``bert-mini``, ``bert-l6-h512``, or the checkpoint's."""
    if model.init == "pretrained" and model.pretrained:
        return model.pretrained.rstrip("/").rsplit("/", 1)[-1]
    shape = (model.layers, model.hidden)
    return MODEL_NAMES.get(shape, f"bert-l{model.layers}-h{model.hidden}")


def register_schema() -> None:
    """Make the schema known to Hydra: ``schema``, the sources' own in group ``data``, and the BEIR sets."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, node in SCHEMAS.items():
        store.store(group="data", name=f"{name}_schema", node=node)
    for name in BEIR_SETS:
        # One option a set: data=beir/nfcorpus.
        chosen = BeirConfig(collection=name, label=name)
        store.store(group="data/beir", name=name, node=chosen, package="data")
