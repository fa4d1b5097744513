"""What a plan says that training costs against what runs of every strategy report."""

from __future__ import annotations

import itertools

import pytest

from retrieval.config import StrategyConfig
from retrieval.config.knobs import choices
from retrieval.config.strategy import STRATEGIES
from retrieval.pipeline import run_cell
from sweeps.launch.contents import read_contents
from sweeps.launch.need import PROXY_SECONDS, estimate
from sweeps.launch.workload import workload
from tests.end_to_end.conftest import Compose, small  # noqa: F401

# Every text is longer than these, so all are of one length and the plan can be exact.
STEPS, LENGTHS = 4, ("data.max_query_length=4", "data.max_passage_length=8")
BASES, ROBUST, MIXING = (choices(StrategyConfig, key) for key in ("base", "robust", "mixing"))
FIXED = ("strategy=pareto", "strategy.rule=fixed", "strategy.omega=0.5")
QUICK = [
    ("strategy=pooled",),
    ("strategy=adversarial", "strategy.mixing=loss", "strategy.perturbation.kind=pgd"),
    (*FIXED, "strategy.base=hard-negative", "strategy.robust=both"),
    (*FIXED, "strategy.base=adversarial", "strategy.mixing=loss", "strategy.budget=extra"),
]
SLOW = [
    *((f"strategy={name}",) for name in STRATEGIES if name not in ("pareto", "pooled")),
    ("strategy=pareto", "strategy.mixing=loss", "strategy.rule=mgda", "train.mini_batch_size=4"),
    *(
        (*FIXED, f"strategy.base={base}", f"strategy.robust={robust}", f"strategy.mixing={mixing}")
        for base, robust, mixing in itertools.product(BASES, ROBUST, MIXING)
    ),
]


@pytest.mark.parametrize(
    "options",
    [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)],
    ids=lambda options: " ".join(options).replace("strategy", ""),
)
def test_planned_flops_are_a_runs_own(small: Compose, options: tuple[str, ...]) -> None:  # noqa: F811
    config = small(f"train.steps={STEPS}", "eval=none", "strategy.hard.count=2", *LENGTHS, *options)
    result = run_cell(config)
    planned = workload(config, read_contents(config))
    assert STEPS * planned.step_flops == pytest.approx(result["cost/train_flops"], rel=1e-9)


def test_proxies_take_time_in_the_plan(small: Compose) -> None:  # noqa: F811
    cell = small("strategy=pareto", "strategy.rule=proxy")
    without = small("strategy=pareto", "strategy.rule=guarded")
    before = PROXY_SECONDS * cell.train.batch_size * cell.train.steps
    assert estimate(cell).seconds - estimate(without).seconds == pytest.approx(before)
    # Without robust-dev domains the default rule is another one.
    assert estimate(small("strategy=pareto")) == estimate(without)
