"""The plan: which cells run side by side, with how many threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from retrieval import config as schema
from retrieval.data.sources.synthetic import SyntheticConfig
from retrieval.run.precision import faster_precision
from sweeps.launch import facts
from sweeps.launch.compose import compose_command
from sweeps.launch.gpus import Sharing
from sweeps.launch.need import (
    Need,
    core_precision,
    core_rate,
    estimate,
)
from sweeps.launch.packing import Load, fits, makespan, plan_slots

works = st.lists(
    st.builds(
        Need,
        train=st.floats(0.1, 1e4),
        parameters=st.integers(10**5, 10**9),
        memory=st.integers(0, 100),
    ),
    min_size=1,
    max_size=20,
)


@given(works, st.integers(1, 65), st.none() | st.integers(1, 200))
def test_plan_is_a_valid_schedule(cells: list[Need], cores: int, memory: int | None) -> None:
    plan = plan_slots(cells, cores, memory=memory)
    assert sorted(plan.order) == list(range(len(cells)))
    durations = [cells[cell].seconds for cell in plan.order]
    assert durations == sorted(durations, reverse=True)
    assert all(1 <= threads <= cores for threads in plan.threads)
    assert plan.capacity == cores
    # No plan is faster than perfect sharing of the work, or slower than one thread after another.
    assert plan.seconds <= sum(cell.seconds for cell in cells) * (1 + 1e-9)
    assert plan.seconds >= max(cell.on(cores) for cell in cells) * (1 - 1e-9)


@given(works, st.integers(1, 65))
def test_plan_is_no_worse_than_either_extreme(cells: list[Need], cores: int) -> None:
    plan = plan_slots(cells, cores)
    longest_first = sorted(cells, key=lambda cell: -cell.seconds)
    one_each = makespan([], [Load(cell.seconds, 1) for cell in longest_first], cores)
    alone = makespan([], [Load(cell.on(cores), cores) for cell in longest_first], cores)
    assert plan.seconds <= min(one_each, alone) * 1.01


def test_many_small_cells_run_side_by_side() -> None:
    assert plan_slots([Need(60, 10**6)] * 8, cores=2).threads == (1,) * 8


def test_one_large_cell_gets_all_cores() -> None:
    assert plan_slots([Need(600, 10**8)], cores=8).threads == (8,)


def test_large_cells_alone_then_small_ones_side_by_side() -> None:
    cells = [Need(10, 10**6), Need(1000, 10**8), Need(10, 10**6)]
    plan = plan_slots(cells, cores=2)
    assert plan.order[0] == 1
    assert plan.threads == (1, 2, 1)
    assert plan.seconds == pytest.approx(1000 / 2**0.85 + 10)


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_an_odd_number_of_equal_cells_leaves_no_core_idle(count: int) -> None:
    cell = Need(60, 10**6)
    plan = plan_slots([cell] * count, cores=2)
    assert sorted(plan.threads) == [1] * (count - 1) + [2]
    busy = sum(threads * seconds for threads, seconds in zip(plan.threads, map(cell.on, plan.threads)))
    assert plan.seconds == pytest.approx(busy / 2)


def test_a_user_decides() -> None:
    cells = [Need(10, 10**6)] * 4
    assert plan_slots(cells, cores=8, slots=2).threads == (4,) * 4
    assert plan_slots(cells, cores=8, slots=2).capacity == 2
    assert plan_slots(cells, cores=8, threads=3).capacity == 2
    assert plan_slots(cells, cores=1, slots=4).threads == (1,) * 4


def test_gpus_take_one_cell_each() -> None:
    plan = plan_slots([Need(10, 10**6)] * 4, cores=16, sharing=Sharing(2))
    assert (plan.capacity, plan.units, plan.threads) == (2, (1,) * 4, (8,) * 4)
    assert plan.seconds == 20


def test_a_cell_on_two_gpus_takes_two() -> None:
    plan = plan_slots(
        [Need(10, 10**6, devices=2), Need(4, 10**6), Need(4, 10**6)], cores=16, sharing=Sharing(2)
    )
    assert plan.units == (2, 1, 1)
    assert plan.seconds == 14


def test_memory_limits_how_many_run_at_once() -> None:
    cells = [Need(10, 10**6, memory=6)] * 2
    assert plan_slots(cells, cores=2, memory=12).seconds == 10
    assert plan_slots(cells, cores=2, memory=10).seconds == pytest.approx(2 * 10 / 2**0.75)


def test_a_cell_larger_than_the_machine_runs_alone() -> None:
    assert fits(9, 99, busy=0, used=0, capacity=2, limit=10)
    assert makespan([], [Load(5, 1, 99), Load(5, 1, 99)], 2, memory=10) == 10


def test_makespan_by_hand() -> None:
    # Two cores: 4 | 3 then 2; the running cell holds the first core for 1 s.
    assert makespan([Load(1, 1)], [Load(4, 1), Load(3, 1), Load(2, 1)], 2) == 6
    assert makespan([], [], 2) == 0
    assert makespan([Load(7, 1)], [], 2) == 7


def test_plan_of_thousands_is_quick() -> None:
    plan = plan_slots([Need(10 + n % 7, 10**6) for n in range(10_000)], cores=64)
    assert plan.seconds == pytest.approx(13 * 10_000 / 64, rel=0.01)


@pytest.mark.parametrize(
    ("layers", "hidden", "parameters"),
    [(2, 128, 396_544), (4, 256, 3_159_040), (8, 512, 25_219_072), (12, 768, 85_054_464)],
)
def test_parameters_of_the_bert_shapes(layers: int, hidden: int, parameters: int) -> None:
    model = schema.ModelConfig(layers=layers, hidden=hidden, projection=0)
    assert facts.parameters(model, 100)["size/params_non_embedding"] == parameters
    projected = schema.ModelConfig(layers=layers, hidden=hidden, projection=768)
    assert facts.parameters(projected, 100)["size/params_non_embedding"] == parameters + (hidden + 1) * 768


def test_estimate_grows_with_what_costs_time() -> None:
    def seconds(**model: int) -> float:
        config = OmegaConf.structured(
            schema.Config(
                model=schema.ModelConfig(**model, init="scratch"),
                data=SyntheticConfig(),
                strategy=schema.StrategyConfig(),
                eval=schema.EvalConfig(),
                trainer=schema.TrainerConfig(),
                logger=schema.LoggerConfig(),
            )
        )
        work = estimate(config)
        assert work.evaluate > 0
        return work.seconds

    tiny, mini, base = seconds(layers=2, hidden=128), seconds(), seconds(layers=12, hidden=768)
    assert tiny < mini < base
    assert base / mini > 5


MEASURED = {
    "bert-tiny": (0.80, 0.94),
    "bert-l2-h256": (0.86, 1.04),
    "bert-mini": (1.07, 1.13),
    "bert-small": (1.49, 1.49),
    "bert-base": (4.19, 4.19),
}
"""GiB: least and most ``cost/peak_memory_bytes`` of runs on pydocs: 30 to 600 steps of 64 pairs, bf16."""


@pytest.mark.parametrize("model", MEASURED)
def test_memory_is_that_of_runs(model: str) -> None:
    config = compose_command([f"model={model}", "train.precision=bf16"])[0].config
    least, most = MEASURED[model]
    assert 0.95 * least <= estimate(config).memory / 2**30 <= 1.1 * most


def test_main_memory_of_a_cell_on_a_gpu_holds_no_activations() -> None:
    def need(*overrides: str, gpu: bool = True) -> Need:
        return estimate(compose_command(["model=bert-base", *overrides])[0].config, gpu=gpu)

    usual, large = need(), need("train.batch_size=1024")
    assert large.held > 4 * usual.held
    assert large.memory == usual.memory
    assert large.memory < need("train.batch_size=1024", gpu=False).memory
    assert need("train.precision=32").held > usual.held


def test_memory_grows_with_what_needs_it() -> None:
    def peak(*overrides: str) -> int:
        return estimate(compose_command(["model=bert-base", *overrides])[0].config).memory

    usual = peak("train.precision=bf16")
    assert peak("train.precision=32") > usual
    assert peak("train.precision=bf16", "model.dropout=0.1") > usual
    assert peak("train.precision=bf16", "train.batch_size=128") > usual
    assert peak("train.precision=bf16", "strategy=hard-negative") > usual
    assert peak("train.precision=bf16", "eval=full") > usual
    assert peak("train.precision=bf16", "train.mini_batch_size=16") < usual


def test_speedup_matches_the_measurements() -> None:
    assert Need(1, 10**6).faster(1) == 1
    assert Need(1, 396_544).faster(2) == pytest.approx(466 / 310, rel=0.01)
    assert Need(1, 3_159_040).faster(2) == pytest.approx(171 / 102, rel=0.01)


def test_core_rate_by_instruction_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    info = tmp_path / "cpuinfo"
    info.write_text("flags\t\t: sse avx2 avx512f amx_bf16\n")
    assert core_rate(info) == 2e11
    assert core_rate(tmp_path / "absent") == 4e10
    config = OmegaConf.create({"train": {"precision": "auto"}, "cache": str(tmp_path)})
    assert core_precision(config, tmp_path / "absent") == "32"
    assert core_precision(config, info) == "bf16"
    monkeypatch.setattr("retrieval.run.precision.measure", lambda: {"32": 1.0, "bf16": 2.0})
    assert faster_precision(tmp_path, info) == "32"
    assert core_precision(config, info) == "32"
    # oneDNN would emulate bfloat16: steps take ten times as long
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert core_precision(config, info) == "32"
    config.train.precision = "bf16"
    assert core_precision(config, tmp_path / "absent") == "bf16"
