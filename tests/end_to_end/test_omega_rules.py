"""ω in whole runs: ω = 0 is the baseline, resumes are exact, test judgements steer nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from retrieval.data import sources
from retrieval.errors import ConfigError
from retrieval.pipeline import run_cell
from tests.end_to_end.conftest import SMALL, Compose, composed
from tests.end_to_end.test_run import directory_of, terminated_at, weights

PARETO = ("strategy=pareto", "eval=none")


def same_weights(one: DictConfig, two: DictConfig) -> bool:
    first, second = (
        {name: value for name, value in weights(directory_of(config)).items() if name.startswith("encoder.")}
        for config in (one, two)
    )
    return (
        len(first) > 0
        and first.keys() == second.keys()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


@pytest.mark.parametrize(
    "options",
    [
        ("standard",),
        ("hard-negative",),
        ("denoising",),
        ("standard", "train.mini_batch_size=5", "model.dropout=0.1"),
    ],
)
def test_at_omega_0_a_run_is_its_base_to_the_bit(small: Compose, options: tuple[str, ...]) -> None:
    base, *others = options
    plain = small(f"strategy={base}", "eval=none", *others)
    mixed = small(*PARETO, "strategy.rule=fixed", "strategy.omega=0", f"strategy.base={base}", *others)
    expected, found = run_cell(plain), run_cell(mixed)
    assert expected["run"] != found["run"]
    assert same_weights(plain, mixed)
    assert found["cost/train_flops"] == expected["cost/train_flops"]


def test_proxies_choose_a_fixed_omega_and_change_nothing_else(small: Compose) -> None:
    by_proxy = small(*PARETO, *RULES["proxy"], "data.queries=400", "train.steps=60")
    found = run_cell(by_proxy)
    assert 0 < found["omega/mean"] <= 0.9
    fixed = (*PARETO, "data.frac=0.2", "data.queries=400", "train.steps=60", "strategy.rule=fixed")
    same = small(*fixed, f"strategy.omega={found['omega/initial']}")
    expected = run_cell(same)
    assert same_weights(by_proxy, same)
    assert found["cost/measure_flops"] > 0
    assert found["cost/train_flops"] == expected["cost/train_flops"] + found["cost/measure_flops"]


def test_at_omega_1_in_domain_pairs_are_never_seen(small: Compose) -> None:
    result = run_cell(small(*PARETO, "strategy.rule=fixed", "strategy.omega=1"))
    assert "train/eff/steps" not in result
    assert (result["train/rob/steps"], result["train/distinct_pairs/eff"]) == (12, 0)


RULES = {
    "guarded": ("strategy.rule=guarded", "strategy.measure_every=1", "data.frac=0.2"),
    "proxy": ("strategy.rule=proxy", "data.frac=0.2"),
    "dro": ("strategy.rule=dro", "strategy.eta=2", "strategy.robust=both", "strategy.base=adversarial"),
    "dev": ("strategy.rule=dev", "strategy.measure_every=2"),
    "soup": ("strategy.rule=soup", "strategy.trunk=0.4"),
    "cool-down": ("strategy.rule=schedule", "strategy.schedule=cool-down", "strategy.omega=0.4"),
}


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        *(("dro", 6), ("dev", 8), ("soup", 10), ("guarded", 9), ("proxy", 4)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("dro", 1), ("soup", 7), ("cool-down", 5))
        ),
    ],
)
def test_a_run_stopped_at_any_step_resumes_to_the_same_bits(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, step: int
) -> None:
    options = (*PARETO, *RULES[rule], "model.dropout=0.1", "trainer.log_every=1")
    whole, parted = small(*options), small(*options, f"runs={tmp_path / 'parted'}")
    expected = run_cell(whole)
    terminated_at(parted, step)
    found = run_cell(parted)
    assert same_weights(whole, parted)
    timed = ("cost/", "data/", "warnings")
    assert {k: v for k, v in found.items() if not k.startswith(timed)} == {
        k: v for k, v in expected.items() if not k.startswith(timed)
    }
    traces = [
        [(line["step"], line["train/omega"]) for line in directory_of(config).metrics()]
        for config in (whole, parted)
    ]
    assert traces[0] == traces[1]


def suite(folder: Path, cache: Path) -> list[str]:
    """The synthetic suite as folders of our own, and the options that name them."""
    made = sources.prepare(composed(*SMALL, "data.domains=3").data, cache)
    roles = {"in-domain": made.in_domain, **made.robust, **made.robust_dev, **made.ood}
    for name, place in roles.items():
        shutil.copytree(place, folder / name)
    [robust], [robust_dev], [ood] = (list(part) for part in (made.robust, made.robust_dev, made.ood))
    own = [option for option in SMALL if not option.startswith("data") or "vocabulary" in option]
    return [
        *own,
        "data=local",
        f"data.path={folder / 'in-domain'}",
        f"data.robust=[{folder / robust}]",
        f"data.robust_dev=[{folder / robust_dev}]",
        f"data.ood=[{folder / ood}]",
    ]


def poison(folder: Path) -> None:
    """Give every test query another one's passage: in-domain and out of domain, all test metrics change."""
    for place in folder.iterdir():
        judged = place / "qrels" / "test.tsv"
        if place.name == "in-domain" or "dev.tsv" not in [path.name for path in judged.parent.iterdir()]:
            head, *rows = judged.read_text().splitlines()
            pairs = [row.split("\t") for row in rows]
            passages = [pair[1] for pair in pairs]
            turned = [*passages[len(passages) // 2 :], *passages[: len(passages) // 2]]
            rows = [f"{pair[0]}\t{passage}\t1" for pair, passage in zip(pairs, turned, strict=True)]
            judged.write_text("\n".join([head, *rows]) + "\n")


@pytest.mark.parametrize("rule", ["guarded", "proxy", "dev", "soup", "dro"])
def test_poisoned_test_judgements_change_no_step(tmp_path: Path, cache: Path, rule: str) -> None:
    results: list[dict[str, Any]] = []
    configs = []
    for name in ("clean", "poisoned"):
        options = suite(tmp_path / name, cache)
        if name == "poisoned":
            poison(tmp_path / name)
        places = [f"runs={tmp_path / 'runs' / name}", f"cache={cache}"]
        config = composed(*options, *places, "strategy=pareto", *RULES[rule], "trainer.log_every=1")
        configs.append(config)
        results.append(run_cell(config))
    clean, poisoned = results
    assert clean["data/fingerprint"] != poisoned["data/fingerprint"]
    assert clean["eff/contrastive_entropy"] != poisoned["eff/contrastive_entropy"]
    assert same_weights(*configs)
    traces = [[line["train/omega"] for line in directory_of(config).metrics()] for config in configs]
    assert traces[0] == traces[1]
    for key in clean:
        if key.startswith(("omega/", "dev/")):
            assert clean[key] == poisoned[key], key


def mixture(path: Path, **changes: Any) -> str:
    law = {
        "intercept": 3.0,
        "ln_train_pairs": -0.7,
        "ln_params_non_embedding": 0.0,
        "draws": [[2.9, -0.7, 0.0], [3.1, -0.7, 0.0]],
        "max_error": 0.01,
        "range": {"params_non_embedding": [1e4, 1e6], "train_pairs": [100, 1000]},
    }
    record = {
        "kind": "mixture",
        "steers": True,
        "level": 0.95,
        "metrics": {"eff": "dev/eff/contrastive_entropy", "rob": "dev/ood/contrastive_entropy"},
        "conditions": {"train_steps": 12, "pairs_per_step": 8, "robust": "ood", "base_strategy": "standard"},
        "optimum": dict.fromkeys(("knee", "eff", "rob"), law),
    }
    path.write_text(json.dumps({**record, **changes}))
    return str(path)


def test_law_takes_the_predicted_omega(small: Compose, tmp_path: Path) -> None:
    file = mixture(tmp_path / "mixture.json")
    result = run_cell(small(*PARETO, "strategy.rule=law", f"strategy.mixture={file}"))
    # logit ω = 3 − .7·ln 140
    assert result["omega/mean"] == pytest.approx(0.3872, abs=1e-4)
    assert result["omega/law_low"] < result["omega/mean"] < result["omega/law_high"]
    assert result["warnings"] == []
    far = small(*PARETO, "strategy.rule=law", f"strategy.mixture={file}", "data.frac=0.1")
    assert [warning["code"] for warning in run_cell(far)["warnings"]] == ["OMEGA_EXTRAPOLATED"]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"steers": False}, (), r"may not steer training"),
        ({}, ("train.steps=13",), r"fitted with train_steps = 12, this run has 13"),
        ({}, ("strategy.robust=both",), r"fitted with robust = ood, this run has both"),
    ],
)
def test_a_law_of_other_conditions_is_refused(
    small: Compose, tmp_path: Path, changes: dict[str, Any], options: tuple[str, ...], message: str
) -> None:
    file = mixture(tmp_path / "mixture.json", **changes)
    with pytest.raises(ConfigError, match=message):
        run_cell(small(*PARETO, "strategy.rule=law", f"strategy.mixture={file}", *options))


def test_soup_averages_its_branches_by_dev_losses(small: Compose) -> None:
    result = run_cell(small(*PARETO, *RULES["soup"], "trainer.log_every=1"))
    lines = directory_of(small(*PARETO, *RULES["soup"], "trainer.log_every=1")).metrics()
    # A trunk of 6 steps and two branches of 3 with the same learning rates; logged is the next step's.
    assert [round(line["train/omega"], 2) for line in lines][:-1] == [0.25] * 5 + [0.0] * 3 + [0.5] * 3
    rates = [line["train/lr"] for line in lines]
    assert rates[5:8] == rates[8:11]
    assert rates[11] == 0
    assert 0 <= result["omega/coefficient"] <= 1
    assert result["train/pairs_seen"] == 12 * 8
    assert result["cost/measure_flops"] > 0


def test_anchor_draws_back_to_a_pretrained_start(small: Compose) -> None:
    with pytest.raises(ConfigError, match=r"rule=anchor .*model\.init=scratch .*model\.init=pretrained"):
        run_cell(small(*PARETO, "strategy.rule=anchor"))
    start = small("strategy=standard", "eval=none")
    run_cell(start)
    folder = directory_of(start).model
    options = ("model.init=pretrained", f"model.pretrained={folder}", "train.lr=0.05")
    result = run_cell(small(*PARETO, "strategy.rule=anchor", *options))
    # Such a rate spoils the weights, and dev losses say so.
    assert result["omega/coefficient"] < 1
    assert "train/rob/steps" not in result
    assert "omega/coefficient_given" not in result


def test_anchor_takes_the_place_that_it_is_given(small: Compose) -> None:
    start = small("strategy=standard", "eval=none")
    run_cell(start)
    options = ("model.init=pretrained", f"model.pretrained={directory_of(start).model}", "train.lr=0.05")

    def place(given: float) -> dict[str, torch.Tensor]:
        cell = small(*PARETO, "strategy.rule=anchor", *options, f"strategy.coefficient={given}")
        result = run_cell(cell)
        assert result["omega/coefficient"] == result["omega/coefficient_given"]
        found = weights(directory_of(cell))
        return {name: value for name, value in found.items() if name.startswith("encoder.")}

    first, half, last = map(place, (0, 0.5, 1))
    for name, value in half.items():
        assert torch.equal(value, torch.lerp(first[name], last[name], 0.5)), name
    assert any(not torch.equal(first[name], last[name]) for name in first)
    with pytest.raises(
        ConfigError, match=r"strategy\.coefficient=0.5 would not be used with strategy\.rule=fixed"
    ):
        run_cell(small(*PARETO, "strategy.rule=fixed", "strategy.omega=0.5", "strategy.coefficient=0.5"))


def test_rules_that_are_steered_by_dev_data_say_what_is_missing(small: Compose) -> None:
    with pytest.raises(ConfigError, match=r"rule=dev is steered by robust-dev domains and"):
        run_cell(small(*PARETO, "strategy.rule=dev", "data.domains=1", "data.robust=[domain-1]"))
    with pytest.raises(ConfigError, match=r"20 dev pairs .*strategy\.measure_pairs=4; raise the latter"):
        run_cell(small(*PARETO, "strategy.rule=dev", "strategy.measure_pairs=4"))
