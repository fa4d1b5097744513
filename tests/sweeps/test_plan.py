"""The plan of a sweep: sizes and FLOPs are a run's own, states are those on disk, the schedule holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from transformers import AutoModel, DistilBertConfig, LlamaConfig, RobertaConfig

import retrieval
from retrieval.config import ModelConfig
from retrieval.data.arrays import BYTES_AT_ONCE
from retrieval.data.tokens import train_wordpiece
from retrieval.errors import ConfigError
from retrieval.models.families import build_scorer
from retrieval.models.flops import Work
from retrieval.run.directory import RunDirectory
from sweeps.cli import main
from sweeps.launch import plan as planning
from sweeps.launch.calibration import (
    MEASURED,
    PAIRS,
    Calibration,
    Point,
    known_calibration,
    measured_code,
)
from sweeps.launch.compose import compose_command
from sweeps.launch.contents import read_contents
from sweeps.launch.need import ACCELERATORS, START_SECONDS, estimate
from sweeps.launch.plan import critical, plan_sweep
from sweeps.launch.probe import (
    LENGTHS,
    StandInTokenizer,
    _probe_cores,
    _Times,
    _tokens,
    _Trial,
    calibrate,
)
from sweeps.launch.workload import Contents, workload

SHAPE = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4}

SMALL = [
    "data=synthetic",
    "data.passages=300",
    "data.queries=200",
    "data.words=300",
    "data.vocabulary=400",
    "train.steps=10",
    "eval.pool=150",
    "eval.negatives=32",
    "logger=none",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(planning, "calibrate", lambda *_: Calibration([Point(128, 2.0, 3.0)]))
    return [*SMALL, f"runs={tmp_path / 'runs'}", f"cache={cache}"]


def config_of(*overrides: str) -> DictConfig:
    return compose_command([*SMALL, *overrides])[0].config


def test_plan_of_a_sweep(small: list[str], tmp_path: Path) -> None:
    composed = compose_command([*small, "model=bert-tiny,bert-mini", "data.frac=0.1,1"])
    first = plan_sweep(composed)
    assert [cell.state for cell in first.cells] == ["absent"] * 4
    assert (first.cells[0].train_pairs or 0) * 10 == pytest.approx(first.cells[1].train_pairs, abs=10)
    assert first.cells[1].params_non_embedding == 396_544 + 129 * 768
    assert first.seconds >= max(cell.seconds for cell in first.cells)
    assert first.seconds == pytest.approx(
        max((cell.start_seconds or 0) + cell.seconds for cell in first.cells)
    )
    assert first.critical_path
    assert set(first.critical_path) <= {cell.run for cell in first.cells}
    assert not (tmp_path / "runs").exists()
    done = RunDirectory(tmp_path / "runs" / first.cells[3].run)
    with done.claim():
        done.finish({"run": done.name})
    second = plan_sweep(compose_command([*small, "model=bert-tiny,bert-mini", "data.frac=0.1,1"]))
    assert [cell.state for cell in second.cells] == ["absent"] * 3 + ["done"]
    assert second.cells[3].start_seconds is None
    assert done.name not in second.critical_path
    totals = second.totals()
    assert totals["states"] == {"absent": 3, "done": 1}
    assert totals["train_flops_left"] == pytest.approx(sum(c.train_flops for c in second.cells[:3]))


def test_the_command_writes_json_and_refuses_in_one_line(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    arguments = [*small, "-m", "model=bert-tiny", "seed=1,2,3", "sweep.where=seed != 2"]
    assert main(["plan", *arguments, "--device", "H100", "--count", "2", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert [cell["seed"] for cell in record["cells"]] == [1, 3]
    assert (record["target"], record["slots"]) == ("2 × h100", 2)
    assert len(record["critical_path"]) == 1
    printed = capsys.readouterr().out
    assert "2 cells: 2 to run" in printed
    assert "40% MFU" in printed
    for bad in (["model=bert-huge"], ["data.frac=2"], ["train.stepz=1"], ["--device", "h999"]):
        assert main(["plan", *small, *bad]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_all_cells_are_checked_first(small: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"data\.frac=2"):
        plan_sweep(compose_command([*small, "data.frac=0.5,1,2"]))


@pytest.mark.parametrize("strategy", ["standard", "hard-negative"])
def test_flops_and_parameters_are_a_runs_own(strategy: str) -> None:
    config = config_of("model=bert-tiny", f"strategy={strategy}", f"train.batch_size={PAIRS}")
    model = ModelConfig(layers=2, hidden=128, init="scratch")
    encoder = build_scorer(model, StandInTokenizer(), 0, "32")
    query, passage = LENGTHS
    contents = Contents(query, query**2, passage, passage**2, 7, 9, len(StandInTokenizer()))
    work = workload(config, contents)
    extra = PAIRS if strategy == "hard-negative" else 0
    theirs = Work.of(_tokens(PAIRS), 3) + Work(3 * extra * passage, 3 * extra * passage**2, 3 * extra)
    assert work.step_flops == pytest.approx(encoder.flops(theirs))
    evaluation = Work(7 * query + 9 * passage, 7 * query**2 + 9 * passage**2, 16)
    assert work.evaluation_flops == pytest.approx(encoder.flops(evaluation))
    counted = encoder.groups().counts()
    sizes = planning.parameters(model, len(StandInTokenizer()))
    assert sizes["size/params_non_embedding"] == counted["non_embedding"]
    assert sizes["size/params_total"] == counted["total"]


@pytest.mark.parametrize("strategy", ["standard", "hard-negative"])
def test_a_vector_a_token_is_planned_for(strategy: str) -> None:
    config = config_of(
        "model=bert-tiny", "model.family=multi-vector", f"strategy={strategy}", "train.batch_size=64"
    )
    model = ModelConfig(family="multi-vector", layers=2, hidden=128, init="scratch")
    encoder = build_scorer(model, train_wordpiece(["a, b"], 50), 0, "32")
    query, passage = LENGTHS
    contents = Contents(query, query**2, passage, passage**2, 7, 1_000_000, 50)
    work = workload(config, contents)
    passages = 64 * (2 if strategy == "hard-negative" else 1)
    sizes = np.full(64, query), np.full(passages, passage)
    once = encoder.encoding_work(np.concatenate(sizes)) + encoder.scoring_work(*sizes)
    assert work.step_flops == pytest.approx(encoder.flops(once * 3))
    assert work.vectors == BYTES_AT_ONCE
    counted = encoder.groups().counts()
    planned = planning.parameters(config.model, len(encoder.word_table))
    assert planned == {f"size/params_{part}": number for part, number in counted.items()}


@pytest.mark.parametrize("subfolder", ["", "0_Transformer"])
@pytest.mark.parametrize(
    "shape",
    [
        RobertaConfig(**SHAPE, hidden_size=32, intermediate_size=48, max_position_embeddings=20),
        LlamaConfig(**SHAPE, hidden_size=32, intermediate_size=48, num_key_value_heads=2),
        DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    ],
    ids=lambda shape: shape.model_type,
)
def test_parameters_of_other_architectures_are_a_runs_own(shape: Any, subfolder: str, tmp_path: Path) -> None:
    AutoModel.from_config(shape).save_pretrained(tmp_path / subfolder)
    model = ModelConfig(init="pretrained", pretrained=str(tmp_path), projection=24)
    counted = build_scorer(model, StandInTokenizer(), 0, "32").groups().counts()
    sizes = planning.parameters(model, len(StandInTokenizer()))
    assert sizes == {f"size/params_{part}": number for part, number in counted.items()}


def test_a_checkpoint_of_no_known_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    model = ModelConfig(init="pretrained", pretrained=str(tmp_path))
    with pytest.raises(ConfigError, match=r"model\.pretrained=.*config\.json describes no model"):
        planning.parameters(model, 50)


def test_the_plan_counts_the_dev_sets(small: list[str]) -> None:
    # In-domain, its dev split, domain-2 (robust-dev), domain-3 (OOD): 40, 20, 20, 40 queries, 150 of 300.
    contents = read_contents(compose_command(small)[0].config)
    assert (contents.test_queries, contents.test_passages) == (120, 4 * 150)
    # Both pools of the in-domain collection hold the lowest hashes: 110 beside 40 relevant, 130 beside 20.
    assert 110 - 20 <= contents.repeated_passages <= 150
    few = read_contents(compose_command([*small, "eval.max_queries=30", "eval.pool=null"])[0].config)
    assert (few.test_queries, few.test_passages) == (100, 4 * 300)
    assert few.repeated_passages == 300
    none = read_contents(compose_command([*small, "eval=none"])[0].config)
    assert (none.test_queries, none.test_passages) == (0, 0)


def test_estimates_follow_device_and_probe() -> None:
    config = config_of("model=bert-base", "train.steps=1000")
    plain, probed = estimate(config), estimate(config, calibration=Calibration([Point(256, 2.0, 1.0)]))
    assert probed.train == pytest.approx(2 * plain.train)
    assert probed.evaluate == plain.evaluate
    fast, slow = (estimate(config, device=ACCELERATORS[name]).train for name in ("h100", "a100"))
    assert fast < slow < plain.train


def test_the_speed_up_by_threads_is_the_probes_where_it_was_measured() -> None:
    config = config_of("model=bert", "model.hidden=256")
    measured = Calibration([Point(128, 1, 1, 0.2), Point(512, 1, 1, 0.8)])
    assert estimate(config, calibration=measured).faster(4) == pytest.approx(4**0.5)
    unmeasured = Calibration([Point(128, 1, 1, 0.2), Point(512, 1, 1)])
    assert estimate(config, calibration=unmeasured).faster(4) == estimate(config).faster(4)


def test_calibration_is_interpolated() -> None:
    calibration = Calibration([Point(128, 1.0, 1.0), Point(512, 4.0, 1.0)])
    assert [calibration.train(hidden) for hidden in (64, 128, 256, 512, 1024)] == pytest.approx(
        [1, 1, 2, 4, 4]
    )


def test_the_probe_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.launch.calibration.WIDTHS", (32, 64))
    monkeypatch.setattr("sweeps.launch.calibration.ROUNDS", 1)
    monkeypatch.setattr("sweeps.launch.calibration.probed_threads", lambda: 2)
    monkeypatch.setattr("psutil.cpu_percent", lambda: 90.0)
    threads = torch.get_num_threads()
    config = OmegaConf.create({"cache": str(tmp_path), "train": {"precision": "auto"}})
    busy = calibrate(config)
    assert [point.exponent for point in busy.points] == [None, None]
    assert busy.exponent(48) is None
    assert known_calibration(config) is None
    monkeypatch.setattr("psutil.cpu_percent", lambda: 10.0)
    monkeypatch.setattr("sweeps.launch.probe.DISTURBED", 0.0)
    assert calibrate(config).exponent(48) is None
    monkeypatch.setattr("sweeps.launch.probe.DISTURBED", 1e9)
    found = calibrate(config)
    assert torch.get_num_threads() == threads
    assert all(point.train > 0 and point.encode > 0 for point in found.points)
    assert all(0 <= (point.exponent or 0) <= 1 for point in found.points)
    assert found.exponent(48) is not None
    assert known_calibration(config) is not None

    def refuse(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("sweeps.launch.probe._probe_cores", refuse)
    assert list(calibrate(config).points) == list(found.points)


def test_a_probe_takes_the_least_of_its_rounds_and_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 1 s alone and .5 s on two threads, but for one that warms up and one that is disturbed."""
    monkeypatch.setattr("sweeps.launch.calibration.WIDTHS", (32,))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    works: list[str] = []
    calls = [4.0, 1.0, 6.0, 1.0, 0.25, 0.5, 6.0]
    monkeypatch.setattr("sweeps.launch.probe._work", lambda *_: Mock(step="step", encode="encode"))

    def timed(work: str) -> _Times:
        works.append(work)
        seconds = 2.0 if work == "encode" else calls.pop(0)
        return _Times(seconds, seconds)

    monkeypatch.setattr("sweeps.launch.probe._timed", timed)
    (point,) = _probe_cores("32", 2)
    expected = _Trial(32, "32").expected  # of the assumed rates
    assert works == ["step", *["step", "encode"] * 3, *["step"] * 3]
    assert point.train == pytest.approx(1 / expected.train)
    assert point.encode == pytest.approx(2 / (expected.evaluate - START_SECONDS))
    assert point.exponent == pytest.approx(1)  # the quarter of a second was no measurement: it warmed up


def test_what_is_known_of_a_machine_outlives_changes_of_other_code(tmp_path: Path) -> None:
    for part in MEASURED:
        file = tmp_path / part / "a.py" if not part.endswith(".py") else tmp_path / part
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('"""About."""\nSIZE = 192\n"""About it."""\n')
    known = measured_code(tmp_path)
    (tmp_path / "training" / "losses.py").write_text("SIZE = 1\n")
    layer = tmp_path / "models" / "cpu" / "a.py"
    layer.write_text('"""Otherwise."""\n\nSIZE = 192  # a habit of oneDNN\n')
    assert measured_code(tmp_path) == known
    layer.write_text("SIZE = 64\n")
    assert measured_code(tmp_path) != known


def test_the_probed_code_is_where_it_was() -> None:
    root = Path(retrieval.__file__).parent
    assert all((root / part).exists() for part in MEASURED)


def test_critical_path_by_hand() -> None:
    # Two slots: 5 | 3 then 4: the last cell waited for the one of 3 seconds.
    assert critical([0, 0, 3], [5, 3, 4]) == [1, 2]
    assert critical([], []) == []
