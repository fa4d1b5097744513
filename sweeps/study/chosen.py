"""Whether stages that are run by name find what the stages before them make."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.errors import ConfigError
from sweeps.study.places import Places
from sweeps.study.plan import plan_study
from sweeps.study.spec import Scale, Stage, Study


def check_chosen(study: Study, whole: Scale, chosen: Scale, places: Places, extra: Sequence[str]) -> None:
    """Check it before the first of them runs.

    ``whole``: the scale that the stages were chosen from; ``extra``: overrides from the command line.

    Raises ConfigError, one line: a stage reads a file that another one makes, or makes a file of runs that
    are not all done. Such a file would be kept, and steer what comes later.
    """
    names = {stage.name for stage in chosen.stages}
    makers = {places.made(stage): stage for stage in whole.stages if stage.makes is not None}
    for stage in chosen.stages:
        for missing in places.waits_for(stage):
            maker = makers.get(missing)
            if maker is not None and maker.name not in names:
                raise ConfigError(
                    f"stage {stage.name} reads {missing}, which stage {maker.name} makes: run that one "
                    f"first, or add --stage {maker.name}"
                )
        if stage.makes is not None and not places.made(stage).exists():
            _check_runs(study, whole, stage, names, places, extra)


def _check_runs(
    study: Study, whole: Scale, maker: Stage, chosen: set[str], places: Places, extra: Sequence[str]
) -> None:
    before = [stage.name for stage in whole.stages[: list(whole.stages).index(maker)] if stage.overrides]
    earlier = [name for name in before if name not in chosen]
    if not earlier:
        return
    for stage in plan_study(study, whole.only(earlier), places, extra).stages:
        if left := stage.cells - stage.done:
            raise ConfigError(
                f"stage {maker.name} reads the runs of stage {stage.name}, of which {left} of {stage.cells} "
                f"are not done: run that one first, or add --stage {stage.name}"
            )
