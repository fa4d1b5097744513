"""Several attacks in one run: how they are named, checked, identified and measured together."""

from __future__ import annotations

import copy
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from retrieval import evaluate
from retrieval.config.attack import attack_names
from retrieval.config.validation import validate
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.pipeline import run_cell
from retrieval.run.identity import identity
from sweeps.launch.compose import compose_command
from sweeps.launch.contents import read_contents
from sweeps.launch.facts import Shape
from sweeps.launch.workload import attacked
from tests.end_to_end.conftest import ATTACK, SMALL, composed
from tests.evaluation.test_attack_run import directory_of

WSRA_KEYS = {
    "accept",
    "candidates",
    "first_rank",
    "importance",
    "last_rank",
    "min_cosine",
    "name",
    "queries",
    "replay",
    "seed",
    "similarity",
    "similarity_model",
    "surrogate",
    "synonyms",
    "targets",
    "tries",
    "words",
}
POISON = ("attack.poison.passages=3", "attack.poison.iterations=8", "attack.poison.tokens=8")


@cache
def cell(*overrides: str) -> DictConfig:
    """Composed once, and not to be changed."""
    return composed(*overrides)


def attack_of(config: DictConfig) -> dict[str, Any]:
    return dict(identity(config, "f")["attack"])


def test_a_list_composes_the_keys_of_all() -> None:
    config = copy.deepcopy(cell("attack=[wsra,poison]"))
    assert attack_names(config.attack) == ("poison", "wsra")
    before = attack_of(config)
    validate(config)
    assert list(config.attack.name) == ["poison", "wsra"] == list(attack_names(config.attack))
    assert attack_of(config) == before
    assert (config.attack.words, config.attack.poison.passages) == (10, 10)
    assert attack_names(cell().attack) == ()
    assert attack_names(cell("attack=[wsra]").attack) == ("wsra",)


def test_one_attack_is_what_it_was_before_there_were_lists() -> None:
    assert attack_of(cell()) == {"name": "none"}
    alone = attack_of(cell("attack=wsra"))
    assert set(alone) == WSRA_KEYS
    assert alone["name"] == "wsra"
    assert attack_of(cell("attack=[wsra]")) == alone


def test_the_order_of_a_list_is_no_part_of_the_identity() -> None:
    first, second = (attack_of(cell(f"attack=[{names}]")) for names in ("wsra,poison", "poison,wsra"))
    assert first == second != attack_of(cell("attack=wsra"))


def test_a_sweep_over_attacks_and_lists_of_them() -> None:
    found = compose_command(["attack=[wsra,poison],typo"])
    assert [attack_names(each.config.attack) for each in found] == [("poison", "wsra"), ("typo",)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attack=poison", "attack.poison.split=test"], "attack.poison.split=test is not known; valid: auto"),
        (["attack=[wsra,typo]", "attack.typo.characters=0"], "attack.typo.characters=0 is out of range"),
        (["attack=poison", "attack.poison.passages=300"], "inserted passages count among the negatives"),
        (["attack=poison", "model.family=cross-encoder"], "attack=poison: model.family=cross-encoder scores"),
        (["attack=[poison,typo]", "attack.targets=51"], "attack.targets=51 needs as many ranks"),
    ],
)
def test_mistakes_in_keys_of_an_attack(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        validate(composed(*overrides))
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("attack.poison.tokens", "attack.poison is a key of attack=poison only"),
        ("attack.words", "attack.words is a key of attack=wsra only"),
    ],
)
def test_a_key_of_another_attack_names_its_owner(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_command(["attack=paragraph", f"{key}=3"])


def test_poison_alone_needs_no_ranks_to_attack() -> None:
    validate(composed("attack=poison", "eval.pool=90", "eval.negatives=12"))


@pytest.mark.slow
def test_two_attacks_in_one_run_are_those_of_two_runs_and_replay_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "train.precision=32")
    both = composed(*SMALL, *places, "attack=[wsra,poison]", *ATTACK[1:], *POISON)
    result, alone = run_cell(both), run_cell(composed(*SMALL, *places, *ATTACK))
    # What a second attack costs apart, the first one's numbers are what they are without it.
    shared = [key for key in alone if key.startswith(("adv/", "bm25/adv/", "eff/"))]
    assert len(shared) > 60
    assert {key: result[key] for key in shared} == {key: alone[key] for key in shared}
    assert result["adv/poison/passages"] == 3
    assert result["adv/poison/auc"] >= 0
    assert result["cost/attack_queries"] == result["adv/queries"] + result["adv/poison/queries"]
    flops = result["adv/wsra/flops"] + result["adv/poison/flops"]
    assert result["cost/attack_flops"] == pytest.approx(flops)
    assert alone["cost/attack_flops"] == alone["adv/wsra/flops"] == result["adv/wsra/flops"]

    # The plan knew it within a factor of two, attack by attack.
    contents, shape = read_contents(both), Shape.of(both.model, 400)
    for name, where in (("wsra", alone), ("poison", result)):
        only = copy.deepcopy(both)
        only.attack.name, only.attack.chosen = name, {}
        planned = attacked(only, shape, shape.flops(contents.passage, contents.passage_square))
        assert 0.5 < planned / where[f"adv/{name}/flops"] < 2, name

    folder = directory_of(both).path
    records = load_attacked(folder / "attack.jsonl")
    assert {entry.attack for entry in records} == {"wsra", "poison"}
    out = tmp_path / "out.json"
    arguments = ["--model", str(folder / "model"), f"data.path={tmp_path}", f"attack.replay={folder}"]
    arguments[2] = "data=synthetic"
    options = [each for each in SMALL if each.startswith(("data.", "eval."))]
    status = evaluate.main([*arguments, *options, f"cache={tmp_path / 'cache'}", "--out", str(out)])
    assert status == 0, capsys.readouterr().err
    measured = json.loads(out.read_text())
    for key in ("adv/rank_after", "adv/poison/top10_rate", "adv/poison/auc", "bm25/adv/poison/top10_rate"):
        assert measured[key] == pytest.approx(result[key], abs=0.1), key
    assert math.isclose(measured["adv/queries"], 0.0)


def test_a_key_that_came_later_counts_where_it_is_set() -> None:
    alone = attack_of(cell("attack=paragraph"))
    assert "unit" not in alone["paragraph"]
    assert attack_of(cell("attack=paragraph", "attack.paragraph.unit=sentence")) == alone
    word = attack_of(cell("attack=paragraph", "attack.paragraph.unit=word"))
    assert word["paragraph"] == {**alone["paragraph"], "unit": "word"}
