"""kill -9 at random moments of everything a sweep does; run to its end, it has lost and changed nothing."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from retrieval.pipeline import run_cell
from tests.end_to_end.conftest import composed
from tests.faults.campaign import MOMENTS, OPTIONS, STRATEGIES, Campaign, corruptions, outcome

KILLS = 100
"""Of the whole campaign."""

EARLY = ["preparation", "mining"]
"""Moments that come once, while the cache is being built."""

LATE = [moment for moment in MOMENTS if moment not in EARLY]

MOST_LAUNCHES = 12
"""Launches of one sweep before it is left alone."""


def disturb(campaign: Campaign, jobs: int, last: str, moments: list[str], patience: float) -> bool:
    """Start the sweep, kill some of its jobs, then more of it; whether it may have work left."""
    campaign.start()
    for moment in moments[:jobs]:
        if reached := campaign.reach(moment, patience):
            campaign.kill_job(reached)
    if reached := campaign.reach(moments[jobs], patience):
        getattr(campaign, last)(reached)
        return True
    status, _ = campaign.wait()
    return status != 0


def finish(campaign: Campaign) -> dict[str, Any]:
    """Run the same command until it ends with success, at most three times."""
    for _ in range(3):
        campaign.start()
        status, said = campaign.wait()
        assert "Traceback" not in said, said
        if status == 0:
            break
    assert status == 0, said
    assert list(corruptions(campaign.root)) == []
    return outcome(campaign.runs)


def test_a_few_kills_change_nothing(tmp_path: Path, cache: Path) -> None:
    strategies = ("hard-negative", "pareto")  # which keep more than weights
    for strategy in strategies:
        where = (f"runs={tmp_path / 'whole'}", f"cache={cache}", "trainer.threads=1")
        run_cell(composed(*OPTIONS, f"strategy={strategy}", *where))
    campaign = Campaign(tmp_path, "1", random.Random(1), strategies)
    disturb(campaign, 2, "kill_everything", ["checkpoint", "training", "evaluation"], 60)
    disturb(campaign, 1, "kill_sweep", ["evaluation", "training"], 60)
    found = finish(campaign)
    assert campaign.kills.total() >= 3
    assert found == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_hundred_kills_change_nothing(tmp_path: Path) -> None:
    dice = random.Random(int(os.environ.get("PARETRIEVE_FAULT_SEED", "0")))
    (tmp_path / "whole").mkdir()
    expected = finish(Campaign(tmp_path / "whole", "1,2", dice))
    assert len(expected) == 2 * len(STRATEGIES)
    kills: Counter[str] = Counter()
    number = 0
    while kills.total() < KILLS:
        number += 1
        (tmp_path / str(number)).mkdir()
        campaign = Campaign(tmp_path / str(number), "1,2", dice)
        for launch in range(MOST_LAUNCHES):
            last = dice.choice(("kill_everything", "kill_sweep"))
            if launch < len(EARLY):
                again = disturb(campaign, 0, last, [EARLY[launch]], 60)
            else:
                jobs = dice.randint(1, 6)
                moments = [dice.choice(LATE) for _ in range(jobs + 1)]
                again = disturb(campaign, jobs, last, moments, dice.uniform(1, 12))
            if not again:
                break
        assert finish(campaign) == expected
        kills += campaign.kills
        print(json.dumps({"sweeps": number, "kills": kills.total(), **kills}), flush=True)
    reached = {name.split(" at ")[1] for name in kills}
    assert reached >= MOMENTS.keys(), MOMENTS.keys() - reached
