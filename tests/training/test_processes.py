"""Two processes with half of each batch do what one does with all of it."""

from __future__ import annotations

import os
import socket
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from retrieval.config import ModelConfig, StrategyConfig
from retrieval.config.model import TEMPERATURE
from retrieval.data.batches import TrainingPairs, collate
from retrieval.data.collection import Judgements
from retrieval.data.tokens import TokenStore, load_tokenizer, write_store
from retrieval.models.families import build_scorer
from retrieval.training.losses import gathered
from retrieval.training.objective import Objective, Setting, build_objective
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData, streams
from tests.rounding import (
    CANCELLED,
    assert_entropies,
    assert_gradients,
    assert_scores,
    assert_vectors,
    encoder_roundings,
    head_scale,
)

STEPS, BATCH = 4, 18
PAIRS = 40
DIMENSION, HARD = 24, 2
DUAL = ModelConfig.family


class _Lists:
    """Mined negatives of a query: the rows after its own."""

    def draw(self, query_rows: np.ndarray, count: int, step: int, key: tuple[int, ...]) -> np.ndarray:
        rows: np.ndarray = (query_rows[:, None] + 1 + step + np.arange(count)) % PAIRS
        return rows

    def relevant(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = query_rows[:, None] == passage_rows[None, :]
        return found


@pytest.fixture(scope="module")
def folder(texts: list[str], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Token stores that other processes can open."""
    root = tmp_path_factory.mktemp("stores")
    tokenizer.save_pretrained(str(root / "tokenizer"))
    for domain in range(2):
        own = texts[2 * domain * PAIRS : 2 * (domain + 1) * PAIRS]
        for side, part, length in (("q", own[:PAIRS], 12), ("p", own[PAIRS:], 32)):
            (root / f"{domain}{side}").mkdir()
            write_store(root / f"{domain}{side}", iter(part), tokenizer, length)
    return root


class _Tokenizer:
    pad_token_id = 0
    all_special_ids: ClassVar[list[int]] = [0, 1, 2, 3, 4]

    def __len__(self) -> int:
        return 130

    def get_vocab(self) -> dict[str, int]:
        return {f"word{number}": number for number in range(130)}


ROUNDINGS = encoder_roundings(layers=2, hidden=32, tokens=32)
LOSS_ROUNDINGS = 2 * ROUNDINGS + DIMENSION + (1 + HARD) * BATCH + 5
"""Of a loss: both texts' vectors, their product, and a softmax over the passages of a batch.

The softmax rounds differences from the highest score, exponentials, their sum and its logarithm.
"""


def setting(
    folder: Path, name: str, mixing: str = "steps", family: str = DUAL
) -> tuple[Objective, TrainingData, torch.nn.Module]:
    rows = np.arange(PAIRS, dtype=np.int64)
    judged = Judgements(rows, rows, np.ones(PAIRS, np.int32))
    sources = [
        TrainingPairs(
            str(d),
            TokenStore(folder / f"{d}q"),
            TokenStore(folder / f"{d}p"),
            judged,
            judged,
            _Lists() if d == 0 else None,  # type: ignore[arg-type]
        )
        for d in range(2)
    ]
    name, _, kind = name.partition("/")
    config = StrategyConfig(name=name, base="hard-negative", rule="dro", eta=0.5, mixing=mixing)
    config.hard.count = HARD
    if kind:
        config.robust, config.perturbation.kind = "both", kind
    objective = build_objective(config, Setting(7, _Tokenizer()))
    shape = ModelConfig(layers=2, hidden=32, heads=2, init="scratch", projection=DIMENSION)
    tokenizer: Any = _Tokenizer()
    if family != DUAL:
        shape.family, shape.projection = family, None
        tokenizer = load_tokenizer(folder / "tokenizer")
    encoder = build_scorer(shape, tokenizer, seed=3, precision="32")
    return objective, TrainingData(sources[0], (sources[1],)), encoder


def scale_of(encoder: Any) -> float:
    """What errors of scores are relative to: of a pair's, see :func:`head_scale`; of others, to the largest.

    What a pair's pooler gives ends in tanh: the vector is no longer than the root of its size.
    """
    if not encoder.by_pair:
        return 1 / TEMPERATURE
    row = encoder.model.classifier.weight
    return float(head_scale(row, np.ones(row.shape))[0])


def run(folder: Path, name: str, mixing: str, family: str, rank: int = 0, world: int = 1) -> dict[str, Any]:
    """A few steps of gradient descent: losses, ω before each step, gradients of each step, work, scales."""
    objective, data, encoder = setting(folder, name, mixing, family)
    sampler = Sampler(objective, data, BATCH, 5, rank, world)
    parameters = list(encoder.parameters())
    seen: dict[str, Any] = {"losses": [], "omega": [], "gradients": [], "work": [], "scales": []}
    for step in range(STEPS):
        seen["scales"].append(scale_of(encoder))
        losses = objective.losses(encoder, sampler.batch(step))  # type: ignore[arg-type]
        encoder.zero_grad()
        objective.backward(losses, parameters)
        for parameter in parameters:
            assert parameter.grad is not None
            if world > 1:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= world  # what DDP does
        if objective.control is not None:
            seen["omega"].append(float(objective.control.omega))
            values = losses.detached()
            objective.control.update(values.eff, values.rob)
        seen["losses"].append(losses.total.item())
        seen["work"].append(losses.work)
        seen["gradients"].append([p.grad.clone() for p in parameters])  # type: ignore[union-attr]
        with torch.no_grad():
            for parameter in parameters:
                parameter -= 0.1 * parameter.grad  # type: ignore[operator]
    return seen


CASES = [
    ("hard-negative", "steps", DUAL),
    ("pooled", "steps", DUAL),
    *(("pareto", mixing, DUAL) for mixing in ("steps", "loss")),
    *(("pareto/pgd", mixing, DUAL) for mixing in ("steps", "loss")),
    ("adversarial/fgsm", "steps", DUAL),
    ("adversarial/substitution", "steps", DUAL),
    ("hard-negative", "steps", "cross-encoder"),
    ("pareto/fgsm", "loss", "cross-encoder"),
]


def _process(rank: int, world: int, port: int, folder: Path, results: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    for number, case in enumerate(CASES):
        torch.save(run(folder, *case, rank, world), results / f"{number}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes saw in each case; they are started once, since each has to import PyTorch."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = tmp_path_factory.mktemp("halves")
    multiprocessing.spawn(_process, (2, port, folder, results), nprocs=2)  # type: ignore[no-untyped-call]
    return results


def assert_losses(ours: dict[str, Any], theirs: dict[str, Any], mixed: bool) -> None:
    """Assert that losses and ω are the same, up to the rounding of the scores; ``mixed``: whether ω moves.

    Each step starts from weights that carry the rounding of those before. A loss is off by twice what a score
    is. By a step the logit of ω moves by η = ½ of the distance of two losses: ω is off by a quarter of what
    one of them is. A sum that is weighted by ω is off by that times the distance, too, which is less than 2.
    """
    for step, scale in enumerate(theirs["scales"]):
        roundings, omega_off = (step + 1) * LOSS_ROUNDINGS, step / 4
        off = 1 + 2 * omega_off if mixed else 1
        assert_entropies(ours["losses"][step], theirs["losses"][step], roundings, off * scale)
        if theirs["omega"]:
            assert_scores(ours["omega"][step], theirs["omega"][step], roundings, 2 * omega_off * scale)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_halves_are_one_whole(folder: Path, halves: Path, case: tuple[str, str, str]) -> None:
    name, mixing, family = case
    alone = run(folder, *case)
    files = (halves / f"{CASES.index(case)}-{rank}.pt" for rank in range(2))
    both = [torch.load(file, weights_only=False) for file in files]
    assert both[0]["losses"] == both[1]["losses"]
    assert both[0]["omega"] == both[1]["omega"]
    assert_losses(both[0], alone, mixed=name.startswith("pareto"))
    assert [astuple(work) for work in both[0]["work"]] == [
        pytest.approx(astuple(work)) for work in alone["work"]
    ]
    if name.startswith("pareto"):
        # By steps ω stands still until both losses have been seen.
        assert len(set(alone["omega"])) == (STEPS if mixing == "loss" else STEPS - 1)
    # A cross-encoder that learned nothing scores all passages alike. The terms of its gradients cancel: about
    # a ten-thousandth of them remains.
    cancelled = CANCELLED if family == DUAL else 100 * CANCELLED
    for step, (ours, theirs) in enumerate(zip(both[0]["gradients"], alone["gradients"], strict=True), 1):
        # Each step starts from weights that carry the rounding of those before.
        assert_gradients(ours, theirs, step * ROUNDINGS, cancelled)


@pytest.mark.parametrize(("world", "batch"), [(2, 18), (3, 7), (2, 3)])
def test_shards_are_the_batch(folder: Path, world: int, batch: int) -> None:
    objective, data, encoder = setting(folder, "hard-negative")
    drawn = streams(objective.strategy, data, batch)
    whole = collate(drawn, 5, 2)
    parts = [collate(drawn, 5, 2, rank, world) for rank in range(world)]
    with torch.no_grad():
        expected = encoder(whole.tokens)
        vectors = []
        for part in parts:
            assert part.shard is not None
            own = encoder(part.tokens)
            vectors.append(torch.nn.functional.pad(own, (0, 0, 0, part.shard.width - len(own))))
        assert_vectors(torch.cat(vectors)[parts[0].shard.order], expected, ROUNDINGS)  # type: ignore[union-attr]
    assert gathered(expected, None) is expected
    for part in parts:
        assert part.pairs == whole.pairs
        assert part.shard is not None
        assert (part.shard.tokens, part.shard.attended) == (whole.tokens.tokens, whole.tokens.attended)
        for name, block in part.blocks.items():
            assert torch.equal(block.excluded, whole.blocks[name].excluded)
