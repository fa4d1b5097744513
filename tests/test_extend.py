"""The worked examples of docs/extend.md, run as a distribution of somebody else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import LAWS
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions
from tests import commands
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import SMALL

BLOCKS = dict(
    re.findall(
        r"^`(\S+)`:\n\n```\w+\n(.*?)^```$",
        (REPOSITORY / "docs" / "extend.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
)
PARTS = (
    "retrieval/training/strategies/even.py",
    "retrieval/training/omega/rules/ramp.py",
    "retrieval/evaluation/attacks/stuffing.py",
    "retrieval/evaluation/variations/shouting.py",
    "retrieval/evaluation/probes/shouted.py",
    "retrieval/models/families/distance.py",
)


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """The parts as plug-ins, with their files of ``conf/``."""
    about = tmp_path / "example-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    modules = []
    for part in PARTS:
        modules.append(f"example_{Path(part).stem}")
        (tmp_path / f"{modules[-1]}.py").write_text(BLOCKS[part])
    entries = "".join(f"{module} = {module}\n" for module in modules)
    (about / "entry_points.txt").write_text(f"[paretrieve.plugins]\n{entries}")
    for path, text in BLOCKS.items():
        if path.endswith(".yaml"):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return tmp_path


def python(distribution: Path, *arguments: str, status: int = 0) -> str:
    paths = os.pathsep.join((str(distribution), str(REPOSITORY)))
    done = commands.run(*arguments, folder=REPOSITORY, environment={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_a_strategy_a_rule_and_an_attack_are_known_everywhere(distribution: Path, cache: Path) -> None:
    shown = python(distribution, "train.py", "--help", "strategy")
    assert re.search(r"adversarial, denoising, even, hard-negative", " ".join(shown.split()))
    assert re.search(r"proxy, ramp, repeats", " ".join(shown.split()))
    shown = python(distribution, "train.py", "--help", "attack")
    assert "with attack=stuffing:\n  attack.copies=1   (1 or more)" in shown
    common = (
        *(option for option in SMALL if not option.startswith("trainer")),
        f"hydra.searchpath=[file://{distribution / 'conf'}]",
        f"runs={distribution / 'runs'}",
        f"cache={cache}",
        "train.steps=4",
    )
    refused = python(distribution, "train.py", *common, "strategy=pareto-ramp", "strategy.peak=2", status=2)
    assert "strategy.peak=2" in refused
    refused = python(distribution, "train.py", *common, "attack=stuffing", "attack.copies=0", status=2)
    assert "attack.copies=0 is out of range; it must be 1 or more" in refused
    refused = python(distribution, "train.py", *common, "attack=wsra", "attack.copies=2", status=2)
    assert "attack.copies is a key of attack=stuffing only" in refused
    planned = python(distribution, "-m", "sweeps", "plan", *common, "strategy=even,pareto-ramp", "--no-data")
    assert "even" in planned
    assert "pareto" in planned
    stuffing = ("attack=stuffing", "attack.queries=4", "attack.first_rank=21", "attack.last_rank=50")
    ramp = ("strategy=pareto-ramp", "strategy.peak=1", "trainer.log_every=1")
    varied = ("eval.variations=[shouting]", "eval.probes=[shouted]")
    for options in (("strategy=even", *stuffing, *varied), ramp):
        python(distribution, "train.py", *common, *options)
    table = distribution / "runs.csv"
    runs = ("--runs", str(distribution / "runs"))
    python(distribution, "-m", "sweeps", "collect", "--out", str(table), *runs)
    rows = pd.read_csv(table).set_index("strategy")
    assert rows.loc["even", "train/rob/steps"] == 2
    assert rows.loc["even", "adv/stuffing/words_changed"] > 1
    assert rows.loc["even", "adv/stuffing/rank_after"] != rows.loc["even", "adv/stuffing/rank_before"]
    assert rows.loc["even", "var/shouting/changed"] == 1.0
    assert rows.loc["even", "bias/shouted/pairs"] == rows.loc["even", "eval/queries"]
    assert rows.loc["pareto", "omega/rule"] == "ramp"
    assert rows.loc["pareto", "omega/final"] == 1.0
    python(distribution, "-m", "sweeps", "report", "--out", str(distribution / "report"), *runs)
    assert "even" in (distribution / "report" / "index.html").read_text(encoding="utf-8")


def test_a_law_is_fitted() -> None:
    exec(BLOCKS["sweeps/fitting/laws/exponential.py"], {})
    try:
        law, planted = LAWS["exponential"], {"h": 2.0, "K": 6e4, "delta": 0.3}
        pairs = [5e3 * 1.8**step for step in range(9)]
        values = [float(law.predict(law.vector(planted), 1.0, d)) for d in pairs]
        table = pd.DataFrame({"N": 1e6, "D": pairs, "y": values})
        found = fit_law(
            table,
            law="exponential",
            metric="y",
            columns=Columns("N", "D"),
            options=FitOptions(bootstrap=0),
            compare_forms=False,
        )
        assert found.params == pytest.approx(planted, rel=1e-4)
    finally:
        del LAWS["exponential"]


def test_a_family_trains_and_is_measured(distribution: Path, cache: Path) -> None:
    common = (
        *(option for option in SMALL if not option.startswith("trainer")),
        f"runs={distribution / 'runs'}",
        f"cache={cache}",
        "train.steps=30",
    )
    refused = python(distribution, "train.py", *common, "model.family=oracle", status=2)
    assert "model.family=oracle is not known; valid: cross-encoder, distance, dual-encoder" in refused
    results = []
    for family in ("distance", "dual-encoder"):
        python(distribution, "train.py", *common, f"model.family={family}")
        results += [
            json.loads(file.read_text())
            for file in (distribution / "runs").glob("*/result.json")
            if json.loads(file.read_text()) not in results
        ]
    found, plain = results
    assert (found["model_family"], "model_family" in plain) == ("distance", False)
    # Chance is ln 33 with 32 negatives.
    assert found["eff/contrastive_entropy"] < 3.4
    assert found["eff/contrastive_entropy"] != plain["eff/contrastive_entropy"]
    assert found["ood/ndcg@10"] >= 0
