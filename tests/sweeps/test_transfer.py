"""The transfer matrix: planted effects of training against perturbations come back, paired."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval.errors import ConfigError, DataError
from sweeps.cli import main
from sweeps.diagnostics import FitRefusedError
from sweeps.fitting.configurations import label_order, label_runs
from sweeps.report.transfer import transfer_section
from sweeps.report.written import Written
from sweeps.robustness.transfer import Transfer, measures_of, rows_of, transfer

COLUMNS = {
    "effectiveness": "eff/contrastive_entropy",
    "OOD": "ood/contrastive_entropy",
    "attack: wsra": "adv/wsra/auc",
    "queries: typo": "var/typo/contrastive_entropy",
}
GAINS = {
    "typo": {"effectiveness": 0.1, "OOD": 0.0, "attack: wsra": -0.02, "queries: typo": -0.8},
    "insertion": {"effectiveness": 0.0, "OOD": 0.05, "attack: wsra": -0.3, "queries: typo": 0.0},
}
CLEAN = {"effectiveness": 2.0, "OOD": 3.0, "attack: wsra": 0.7, "queries: typo": 2.9}


def table(noise: float = 0.0) -> pd.DataFrame:
    """Two cells of three seeds: ``standard`` and ``adversarial`` against two perturbations."""
    random = np.random.default_rng(0)
    rows = []
    for frac in (0.1, 1.0):
        for seed in (1, 2, 3):
            for kind in ("", *GAINS):
                row = {"run": f"{frac}-{seed}-{kind}", "model": "m", "data": "d", "frac": frac, "seed": seed}
                row |= {"strategy": "adversarial" if kind else "standard", "eval/negatives": 256}
                row |= {"perturbation/kind": kind or None, "eval/pool": 99}
                row |= {"size/params_non_embedding": 1e6, "size/train_pairs": 1e4 * frac}
                for name, column in COLUMNS.items():
                    # Cells and seeds differ by more than the effects do.
                    value = CLEAN[name] - 0.3 * frac + 0.1 * seed / 3
                    row[column] = value + GAINS.get(kind, {}).get(name, 0.0) + noise * random.normal()
                rows.append(row)
    return pd.DataFrame(rows)


def test_planted_effects_come_back_whatever_cells_and_seeds_differ_by() -> None:
    record = transfer(table())
    assert record.rows() == ["adversarial (insertion)", "adversarial (typo)"]
    assert record.columns() == list(COLUMNS)
    for (row, column), entry in record.matrix().items():
        expected = GAINS[row.removeprefix("adversarial (").rstrip(")")][column]
        assert entry.judged.difference == pytest.approx(expected)
        assert entry.judged.n == 6
        assert entry.judged.high - entry.judged.low < 1e-9  # type: ignore[operator]
        assert entry.judged.baseline == pytest.approx(CLEAN[column] - 0.3 * 0.55 + 0.1 * 2 / 3)
    assert Transfer.from_json(record.to_json()) == record


def test_noise_decides_what_is_decided() -> None:
    matrix = transfer(table(noise=0.02)).matrix()
    assert matrix["adversarial (typo)", "queries: typo"].judged.better == "strategy"
    assert matrix["adversarial (typo)", "effectiveness"].judged.better == "baseline"
    assert matrix["adversarial (insertion)", "attack: wsra"].judged.better == "strategy"
    assert matrix["adversarial (insertion)", "queries: typo"].judged.better is None
    wide = transfer(table(noise=2.0)).matrix().values()
    assert all(entry.judged.better is None for entry in wide)


def test_runs_are_paired_and_others_left_out() -> None:
    runs = table()
    lost = runs[(runs["perturbation/kind"] != "typo") | (runs["seed"] != 2)]
    assert transfer(lost).matrix()["adversarial (typo)", "OOD"].judged.n == 4
    never = runs.assign(**{"adv/wsra/auc": runs["adv/wsra/auc"].where(runs["strategy"] == "standard")})
    assert "attack: wsra" not in transfer(never).columns()


def test_one_perturbation_is_named_too_and_metrics_can_be_chosen() -> None:
    runs = table()
    runs = runs[runs["perturbation/kind"] != "insertion"].assign(**{"var/typo/ndcg@10": 0.5})
    record = transfer(runs, metrics=["var/typo/ndcg@10"])
    assert (record.rows(), record.columns()) == (["adversarial, typo"], ["var/typo/ndcg@10"])
    entropy = runs.drop(columns="adv/wsra/auc").assign(**{"adv/contrastive_entropy": 3.0})
    assert [one.column for one in measures_of(entropy, [])][-1] == "adv/contrastive_entropy"


def test_a_perturbation_is_part_of_a_label_where_there_are_several() -> None:
    labels = label_runs(table())["label"]
    assert set(labels) == {"standard", "adversarial (typo)", "adversarial (insertion)"}
    pareto = table().assign(strategy="pareto", **{"omega/rule": "dro", "omega/robust": "both"})
    pareto.loc[pareto["perturbation/kind"].isna(), "omega/robust"] = "ood"
    both = {"pareto dro (both, typo)", "pareto dro (both, insertion)"}
    assert set(label_runs(pareto)["label"]) == {"pareto dro (ood)", *both}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="--baseline pooled: no such runs; the table has adversarial"):
        transfer(table(), "pooled")
    with pytest.raises(ConfigError, match="--metric var/case/ndcg@10: no run has it"):
        transfer(table(), metrics=["var/case/ndcg@10"])
    with pytest.raises(DataError, match="no runs stand beside standard"):
        transfer(table()[table()["strategy"] == "standard"])
    runs = table()
    with pytest.raises(FitRefusedError, match="2 evaluation pools"):
        transfer(runs.assign(**{"eval/pool": np.where(runs["strategy"] == "standard", 99, 100)}))


def test_the_command_writes_both_files_and_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(noise=0.02).to_csv(tmp_path / "runs.csv", index=False)
    out = tmp_path / "transfer.json"
    arguments = ["--table", str(tmp_path / "runs.csv"), "--out", str(out), "--figures", str(tmp_path / "f")]
    assert main(["transfer", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "trained against" in shown
    written = pd.read_csv(tmp_path / "transfer.csv")
    assert len(written) == len(json.loads(out.read_text())["entries"]) == 8
    assert {"trained_against", "tested_on", "difference", "low", "high", "p_holm", "pairs"} < set(written)
    assert (tmp_path / "f" / "transfer.svg").stat().st_size > 1000
    assert rows_of(Transfer.load(out))[0] == ["trained against", *COLUMNS]


def test_the_report_has_the_matrix_where_runs_were_trained_against_something() -> None:
    runs = table(noise=0.02)
    section = transfer_section(label_runs(runs), Written(None, runs))
    assert section is not None
    assert [panel.name for panel in section.panels] == ["transfer"]
    assert section.tables[0].rows[1][0] == "adversarial (typo)"
    assert set(section.records) == {"transfer"}
    assert transfer_section(label_runs(runs[runs["strategy"] == "standard"]), Written(None, runs)) is None
    usual = runs.drop(columns=["adv/wsra/auc", "var/typo/contrastive_entropy"])
    assert transfer_section(label_runs(usual), Written(None, usual)) is None


def test_a_law_of_varied_queries_has_the_level_of_guessing(tmp_path: Path) -> None:
    rows = [
        {"size/train_pairs": d, "size/params_non_embedding": 1e6, "seed": 1, "eval/negatives": 256}
        | {"strategy": "standard", "var/typo/contrastive_entropy": 40.0 * d**-0.3 + 1.0}
        for d in (500 * 2**step for step in range(7))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    arguments = ["--table", str(tmp_path / "runs.csv"), "--metric", "var/typo/contrastive_entropy"]
    arguments += ["--law", "data", "--bootstrap", "0", "--out", str(tmp_path / "fit.json")]
    assert main(["fit", *arguments]) == 0
    found = json.loads((tmp_path / "fit.json").read_text())
    assert found["chance"] == pytest.approx(np.log(257))
    assert found["metric"] == "var/typo/contrastive_entropy"


def test_a_fixed_omega_has_its_place_whatever_follows_it() -> None:
    labels = ["fixed ω=0.75, typo", "fixed ω=0.25 (steps), typo", "standard", "fixed ω=0.5"]
    assert sorted(labels, key=label_order) == [labels[2], labels[1], labels[3], labels[0]]
