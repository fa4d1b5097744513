"""Valid values of the configuration's keys, one by one; :mod:`retrieval.config.validation` checks them."""

from __future__ import annotations

from collections.abc import Callable

from retrieval.config.margins import MARGINS

GRADIENT_RULES = ("upgrad", "mgda", "pcgrad")
"""Rules that choose ω from the gradients of the two losses."""

PLAIN_RULES = (
    *("fixed", "schedule", "repeats", "guarded", "proxy", "gap", "dev"),
    *("law", "dro", "linear", "soup", "anchor"),
)
RULES = ("auto", *PLAIN_RULES, *GRADIENT_RULES)
"""Values of ``strategy.rule``."""

CHOICES: dict[str, tuple[str, ...]] = {
    "model.init": ("scratch", "pretrained"),
    "model.pooling": ("mean", "cls"),
    "model.similarity": ("dot", "cosine"),
    "data.overlap": ("refuse", "drop"),
    "strategy.name": ("standard", "hard-negative", "denoising", "adversarial", "pooled", "pareto"),
    "strategy.base": ("standard", "hard-negative", "denoising", "adversarial"),
    "strategy.robust": ("ood", "adversarial", "both"),
    "strategy.rule": RULES,
    "strategy.goal": ("knee", "eff", "rob"),
    "strategy.schedule": ("constant", "cool-down", "warm-up", "switch"),
    "strategy.mixing": ("steps", "loss"),
    "strategy.domains": ("turn", "pooled"),
    "strategy.budget": ("equal", "extra"),
    "strategy.denoise.margin": MARGINS,
    "strategy.perturbation.kind": ("fgsm", "pgd", "substitution", "noise"),
    "train.precision": ("auto", "32", "bf16"),
    "eval.name": ("quick", "full", "none"),
    "attack.name": ("none", "wsra"),
    "attack.importance": ("gradient", "random"),
    "attack.accept": ("rank", "score"),
    "logger.name": ("wandb", "none"),
}

RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "model.layers": (lambda x: 1 <= x <= 96, "a whole number from 1 to 96"),
    "model.hidden": (lambda x: x >= 1, "a positive whole number, such as 128, 256, 512 or 768"),
    "model.projection": (lambda x: x >= 0, "0 (no projection) or more"),
    "model.temperature": (lambda x: x > 0, "above 0"),
    "model.dropout": (lambda x: 0 <= x < 1, "from 0 to below 1"),
    "data.frac": (lambda x: 0 < x <= 1, "above 0 and at most 1 (the share of the training pairs)"),
    "data.vocabulary": (lambda x: x >= 100, "100 or more"),
    "data.max_query_length": (lambda x: 3 <= x <= 512, "from 3 to 512 tokens"),
    "data.max_passage_length": (lambda x: 3 <= x <= 512, "from 3 to 512 tokens"),
    "strategy.eta": (lambda x: x > 0, "above 0"),
    "strategy.decay": (lambda x: 0 <= x < 1, "from 0 (no averaging) to below 1"),
    "strategy.omega_min": (lambda x: 0 <= x < 1, "from 0 to below 1"),
    "strategy.omega_max": (lambda x: 0 < x <= 1, "above 0, at most 1"),
    "strategy.trunk": (lambda x: 0 <= x < 1, "from 0 to below 1 (share of the steps)"),
    "strategy.measure_every": (lambda x: x >= 1, "1 or more steps"),
    "strategy.measure_pairs": (lambda x: x >= 2, "2 or more pairs"),
    "strategy.recalibrate": (lambda x: x >= 0, "0 (never) or more steps"),
    "strategy.hard.depth": (lambda x: x >= 1, "1 or more"),
    "strategy.hard.count": (lambda x: x >= 1, "1 or more"),
    "strategy.hard.refresh": (lambda x: x >= 0, "0 (never) or more steps"),
    "strategy.denoise.value": (lambda x: x >= 0, "0 or more"),
    "strategy.perturbation.epsilon": (lambda x: x > 0, "above 0 (in mean norms of a word embedding)"),
    "strategy.perturbation.steps": (lambda x: x >= 1, "1 or more"),
    "strategy.perturbation.rate": (lambda x: 0 < x <= 1, "above 0, at most 1 (share of the words)"),
    "strategy.perturbation.neighbours": (lambda x: x >= 1, "1 or more"),
    "train.steps": (lambda x: x >= 1, "1 or more"),
    "train.batch_size": (lambda x: x >= 2, "2 or more (in-batch negatives need a second pair)"),
    "train.warmup": (lambda x: 0 <= x <= 1, "from 0 to 1 (share of the steps)"),
    "train.weight_decay": (lambda x: x >= 0, "0 or more"),
    "train.clip": (lambda x: x >= 0, "0 (no clipping) or more"),
    "eval.shard": (lambda x: x >= 1, "1 or more passages"),
    "eval.negatives": (lambda x: x >= 1, "1 or more"),
    "eval.draws": (lambda x: x >= 1, "1 or more"),
    "attack.queries": (lambda x: x >= 1, "1 or more"),
    "attack.targets": (lambda x: x >= 1, "1 or more"),
    "attack.first_rank": (lambda x: x >= 2, "2 or more (rank 1 cannot be improved)"),
    "attack.words": (lambda x: x >= 1, "1 or more"),
    "attack.candidates": (lambda x: x >= 1, "1 or more"),
    "attack.min_cosine": (lambda x: -1 <= x <= 1, "from -1 (any neighbour) to 1"),
    "attack.similarity": (lambda x: -1 <= x < 1, "from -1 (no constraint) to below 1"),
    "attack.seed": (lambda x: 0 <= x < 2**31, "from 0 to 2147483647"),
    "seed": (lambda x: 0 <= x < 2**31, "from 0 to 2147483647"),
    "trainer.devices": (lambda x: x >= 1, "1 or more"),
    "trainer.log_every": (lambda x: x >= 1, "1 or more"),
    "trainer.checkpoint_every": (lambda x: x >= 1, "1 or more"),
    "trainer.checkpoint_seconds": (lambda x: x >= 0, "0 or more"),
    "logger.timeout": (lambda x: x > 0, "above 0 seconds"),
}

OPTIONAL_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "model.heads": (lambda x: x >= 1, "a positive whole number, or null for hidden / 64"),
    "model.intermediate": (lambda x: x >= 1, "a positive whole number, or null for 4 × hidden"),
    "strategy.omega": (lambda x: 0 <= x <= 1, "from 0 (effectiveness only) to 1 (robustness only)"),
    "train.lr": (lambda x: 0 < x <= 1, "above 0, at most 1, or null to scale it with the width"),
    "train.mini_batch_size": (lambda x: x >= 1, "1 or more texts, or null for all at once"),
    "train.embedding_lr": (lambda x: 0 < x <= 1, "above 0, at most 1, or null"),
    "eval.max_queries": (lambda x: x >= 1, "1 or more, or null for all"),
    "eval.pool": (lambda x: x >= 2, "2 or more, or null for the whole corpus"),
    "attack.tries": (lambda x: x >= 1, "1 or more, or null for all words"),
    "trainer.threads": (lambda x: x >= 1, "1 or more, or null"),
}
