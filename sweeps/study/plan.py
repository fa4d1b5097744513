"""What a study would run: its cells by stage, which are done, and how long the others take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from retrieval.errors import ConfigError
from sweeps import Progress
from sweeps.launch.compose import Composed, compose_command
from sweeps.launch.display import duration
from sweeps.launch.need import ACCELERATORS
from sweeps.study.places import Places
from sweeps.study.spec import Scale, Stage, Study


@dataclass(frozen=True)
class StagePlan:
    """One stage; a command has no cells."""

    name: str
    cells: int
    done: int
    seconds: float
    """Of the cells that are left, one after another."""
    note: str = ""


@dataclass(frozen=True)
class StudyPlan:
    """All stages and the time that they take together."""

    stages: list[StagePlan]
    seconds: float
    slots: int
    target: str
    assumptions: list[str]

    def lines(self, study: Study, scale: Scale) -> Iterator[str]:
        """The plan for people."""
        yield f"study {study.name}, scale {scale.name} ({scale.about}): {study.question}"
        width = max(len(stage.name) for stage in self.stages)
        for stage in self.stages:
            cells = f"{stage.cells:4d} cells, {stage.done:4d} done, {duration(stage.seconds)} of cells left"
            shown = cells if stage.cells else "command"
            yield f"  {stage.name:{width}}  {shown}{f' ({stage.note})' if stage.note else ''}"
        cells, done = (sum(getattr(stage, key) for stage in self.stages) for key in ("cells", "done"))
        yield (
            f"{cells} cells, {done} done; on {self.target}, {self.slots} slots: "
            f"about {duration(self.seconds)} for what is left"
        )
        yield from self.assumptions


def compose_stages(
    study: Study,
    scale: Scale,
    places: Places,
    extra: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[tuple[Stage, list[Composed]]]:
    """The cells of every sweep of a scale; of a command none.

    ``progress``: called with (done, total) stages.

    Raises ConfigError, one line that names the stage: a stage cannot be composed.
    """
    found = list[tuple[Stage, list[Composed]]]()
    for number, stage in enumerate(scale.stages):
        try:
            cells = compose_command(places.overrides(stage, extra, planned=True)) if stage.overrides else []
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, stage {stage.name}: {error}") from error
        found.append((stage, cells))
        if progress is not None:
            progress(number + 1, len(scale.stages))
    return found


def plan_study(
    study: Study,
    scale: Scale,
    places: Places,
    extra: Sequence[str] = (),
    with_data: bool = False,
    progress: Progress | None = None,
) -> StudyPlan:
    """Compose and check every cell, and estimate what is left.

    ``with_data``: read the data, and prepare what is missing of them; else sizes and lengths are typical.
    ``progress``: called with (done, total) stages.

    Raises ConfigError: a stage cannot be composed, or a cell is not valid; DataError: data cannot be read.
    """
    composed = compose_stages(study, scale, places, extra, progress)
    from sweeps.launch.plan import plan_sweep  # PyTorch waits until every cell is composed

    numbered = [
        (stage, replace(cell, index=number))
        for number, (stage, cell) in enumerate((stage, cell) for stage, cells in composed for cell in cells)
    ]
    accelerator = ACCELERATORS[scale.device] if scale.device else None
    plan = plan_sweep([cell for _, cell in numbered], accelerator, with_data=with_data)
    # One run may be a cell of two stages; the plan has it once, for the first.
    of_cells = {tuple(cell.overrides): cell for cell in plan.cells}
    stages = []
    for stage, cells in composed:
        own = [of_cells[key] for cell in cells if (key := tuple(cell.overrides)) in of_cells]
        left = [cell for cell in own if cell.state != "done"]
        missing = places.waits_for(stage)
        note = f"planned as {' '.join(stage.stand_in)} until {missing[0].name} is there" if missing else ""
        if stage.makes is not None:
            note = f"{places.made(stage).name} {'is there' if places.made(stage).exists() else 'to be made'}"
        seconds = sum(cell.seconds for cell in left)
        stages.append(StagePlan(stage.name, len(own), len(own) - len(left), seconds, note))
    return StudyPlan(stages, plan.seconds, plan.slots, plan.target, plan.assumptions)
