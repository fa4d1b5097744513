"""Attacks in whole runs, in the evaluation command and in the configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from retrieval import evaluate
from retrieval.config.model import TEMPERATURE
from retrieval.config.validation import validate
from retrieval.data import sources
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.pipeline import run_cell
from retrieval.run.directory import RunDirectory
from retrieval.run.identity import identity
from tests.end_to_end.conftest import ROUNDINGS, SMALL, composed
from tests.evaluation.conftest import load_scores
from tests.rounding import assert_entropies, assert_scores

ATTACK = (
    "attack=wsra",
    "attack.queries=4",
    "attack.first_rank=21",
    "attack.last_rank=50",
    "attack.min_cosine=-1",
    "attack.candidates=3",
    "attack.tries=5",
)
METRICS = ("contrastive_entropy", "ndcg@10", "mrr@10", "recall@100")


def directory_of(config: DictConfig) -> RunDirectory:
    return RunDirectory.of(config, sources.fingerprint(config.data, Path(config.cache)))


def assert_alike(found: dict[str, Any], expected: dict[str, Any], keys: Iterable[str], rest: float) -> None:
    """Assert that two measurements of one model are the same up to rounding.

    ``rest``: a relative tolerance of what follows from ranks and counts. These are the same, or differ by
    more than the last digits.
    """
    for key in keys:
        if key.startswith("bm25"):
            assert found[key] == pytest.approx(expected[key], rel=rest), key
        elif "contrastive_entropy" in key:
            # A score is the cosine of two vectors, divided by the temperature.
            assert_entropies(found[key], expected[key], 2 * ROUNDINGS, 1 / TEMPERATURE)
        elif key.endswith("similarity"):
            assert_scores(found[key], expected[key], 2 * ROUNDINGS, 1)
        else:
            assert found[key] == pytest.approx(expected[key], rel=rest), key


@pytest.mark.slow
def test_a_run_is_attacked_and_its_attack_replayed_on_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}"]
    # The exported encoder computes in fp32.
    places.append("train.precision=32")
    first = composed(*SMALL, *places, *ATTACK)
    result = run_cell(first)
    for name in (*METRICS, *(f"clean/{name}" for name in METRICS), "success_rate", "rank_boost"):
        assert math.isfinite(result[f"adv/{name}"]), name
    assert result["adv/queries"] == result["cost/attack_queries"] > 0
    assert result["cost/attack_seconds"] > 0
    folder = directory_of(first).path
    attacked = load_attacked(folder / "attack.jsonl")
    assert result["adv/targets"] == len(attacked)
    queries, _ = load_scores(folder / "scores")
    assert set(queries["set"]) >= {"eff", "adv", "adv/clean"}
    assert queries[queries["set"] == "adv"]["ndcg@10"].mean() == pytest.approx(
        result["adv/ndcg@10"], abs=1e-6
    )

    second = composed(*SMALL, *places, "seed=2", f"attack.replay={folder}")
    replayed = run_cell(second)
    texts = [entry.new_text for entry in load_attacked(directory_of(second).path / "attack.jsonl")]
    assert texts == [entry.new_text for entry in attacked]
    assert replayed["cost/attack_queries"] == 0
    assert replayed["adv/words_changed"] == result["adv/words_changed"]

    # The exported encoder through the evaluation command: the same set gives the same metrics.
    out, again = tmp_path / "out.json", tmp_path / "again.jsonl"
    arguments = ["--run", str(folder), f"attack.replay={folder}", "--out", str(out), "--attacked", str(again)]
    assert evaluate.main(arguments) == 0, capsys.readouterr().err
    measured = json.loads(out.read_text())
    keys = ("adv/contrastive_entropy", "adv/ndcg@10", "adv/rank_boost", "adv/similarity")
    assert_alike(measured, result, keys, rest=1e-3)
    assert [entry.new_text for entry in load_attacked(again)] == texts

    # The run's own attack, searched again through its exported encoder.
    assert evaluate.main(["--run", str(folder), "--attacked", str(again)]) == 0, capsys.readouterr().err
    found = [entry.new_text for entry in load_attacked(again)]
    assert sum(a == b for a, b in zip(found, texts, strict=True)) >= 0.9 * len(texts)

    # A surrogate lends gradients and neighbours; the attacked model is asked for scores only.
    surrogate = f"attack.surrogate={directory_of(second).path}"
    assert evaluate.main(["--run", str(folder), *ATTACK, surrogate, "--out", str(out)]) == 0
    assert json.loads(out.read_text())["adv/words_changed"] > 0


def test_a_corpus_in_shards_is_measured_and_attacked_as_the_whole(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*SMALL, f"cache={cache}", *ATTACK, "eval.pool=null", "train.precision=32")
    whole, parted = (composed(*options, f"runs={tmp_path / str(n)}", f"eval.shard={n}") for n in (65536, 37))
    expected, found = run_cell(whole), run_cell(parted)
    # The size of a shard bounds memory: the run is the same run.
    assert found["run"] == expected["run"]
    assert found.keys() == expected.keys()
    texts = [
        [entry.new_text for entry in load_attacked(directory_of(config).path / "attack.jsonl")]
        for config in (whole, parted)
    ]
    assert texts[0] == texts[1]
    measured = [key for key in expected if key.startswith(("eff/", "ood/", "adv/", "eval/"))]
    assert len(measured) > 20
    assert_alike(found, expected, measured, rest=1e-5)

    out = tmp_path / "out.json"
    arguments = ["--run", str(directory_of(whole).path), "eval.pool=null", "eval.max_queries=50"]
    arguments += ["eval.negatives=32", "eval.draws=2", f"attack.replay={directory_of(whole).path}"]
    results = []
    for shard in ("eval.shard=65536", "eval.shard=41"):
        status = evaluate.main([*arguments[:2], shard, *arguments[2:], "--out", str(out)])
        assert status == 0, capsys.readouterr().err
        values = json.loads(out.read_text())
        assert values.pop("warnings") == []
        results.append({key: value for key, value in values.items() if not key.startswith("cost/")})
    assert results[0].keys() == results[1].keys()
    assert_alike(results[0], results[1], results[1], rest=1e-5)


@pytest.mark.slow
def test_a_malformed_replay_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "attack.jsonl").write_text("{}\n")
    places = [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}"]
    config = composed(*SMALL, *places, f"attack.replay={tmp_path}")
    with pytest.raises(DataError, match=r"attack\.jsonl:1: 'words' is missing"):
        run_cell(config)
    assert not directory_of(config).metrics()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["attack.queries=9"],
            "attack.queries=9 would not be used with attack=none; add attack=paragraph or poison or ",
        ),
        (["attack=wsra", "eval=none"], "eval=none measures nothing"),
        (["attack=wsra", "attack.synonyms=wordnet"], "attack.synonyms=wordnet: no such file"),
        (["attack.replay=nowhere"], "attack.replay=nowhere: no attacked passages there"),
        (["attack=wsra", "attack.targets=51"], "attack.targets=51 needs as many ranks"),
        (["attack=wsra", "eval.pool=90", "eval.negatives=9"], "attack.last_rank=100 is beyond eval.pool=90"),
        (["attack=wsra", "eval.negatives=4"], "attack.targets=5 is more than eval.negatives=4"),
        (["attack=wsra", "attack.accept=always"], "attack.accept=always is not known; valid: rank, score"),
        (["attack=wsra", "attack.words=0"], "attack.words=0 is out of range; it must be 1 or more"),
    ],
)
def test_mistakes_in_the_configuration(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        validate(composed(*overrides))
    assert len(str(failure.value).splitlines()) == 1


def test_an_attack_is_part_of_the_identity_by_what_it_reads(tmp_path: Path) -> None:
    def identify(*overrides: str) -> dict[str, object]:
        return dict(identity(composed(*overrides), "f")["attack"])

    assert identify() == {"name": "none"}
    assert identify("attack=wsra") != identify("attack=wsra", "attack.words=9")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "attack.jsonl").write_text("same")
        (tmp_path / name / "other").write_text(name)
    (tmp_path / "moved.jsonl").write_text("same")
    places = [f"attack.replay={tmp_path / name}" for name in ("one", "two", "moved.jsonl")]
    assert identify(places[0]) == identify(places[1]) == identify(places[2], "attack=wsra")
    (tmp_path / "moved.jsonl").write_text("different")
    assert identify(places[2]) != identify(places[0])


def test_attacked_passages_need_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--model", "m", "--attacked", "x.jsonl"]) == 2
    assert "--attacked x.jsonl needs an attack" in capsys.readouterr().err
