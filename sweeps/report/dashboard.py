"""The report's figures as a Weights & Biases workspace or report, through its public package.

W&B draws from the summary of its own copies of the runs, so fits and intervals are not on it; their
conclusions are, as text. The panels are plain data here and become W&B objects in one place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from retrieval.errors import ConfigError, ParetrieveError, first_line
from retrieval.run.tracking import has_wandb_key
from sweeps.fitting.points import PAIRS, SIZE

INSTEAD = "`python -m sweeps report` draws the same from the run folders"


class DashboardError(ParetrieveError):
    """A dashboard cannot be made; the message says what is missing and what works instead."""


@dataclass(frozen=True)
class PanelSpec:
    """One panel: a scatter plot of two summary values, lines over the training step, or text."""

    kind: Literal["scatter", "lines", "text"]
    title: str
    x: str = "step"
    y: tuple[str, ...] = ()
    log_x: bool = False
    log_y: bool = False
    text: str = ""


Sections = dict[str, tuple[PanelSpec, ...]]
"""Heading -> its panels."""


def panels(conclusions: Sequence[str] = ()) -> Sections:
    """The sections of the dashboard; ``conclusions`` are the report's sentences, shown first."""
    objectives = {"effectiveness": "eff", "OOD robustness": "ood"}
    scaling = tuple(
        _scatter(f"Contrastive entropy, {name}, against {what}", axis, f"{key}/contrastive_entropy")
        for what, axis in (("training pairs", PAIRS), ("parameters", SIZE))
        for name, key in objectives.items()
    )
    frontier = _scatter(
        "Effectiveness and OOD robustness", "eff/contrastive_entropy", "ood/contrastive_entropy"
    )
    ranking = tuple(
        replace(_scatter(f"nDCG@10, {name}", PAIRS, f"{key}/ndcg@10"), log_y=False)
        for name, key in objectives.items()
    )
    steps = (
        PanelSpec("lines", "Weight ω of the robustness loss", y=("train/omega",)),
        PanelSpec("lines", "Distance from the ray through (E*, R*)", y=("train/omega_distance",)),
        PanelSpec("lines", "Training losses", y=("train/loss_eff", "train/loss_rob")),
        PanelSpec("lines", "Pairs per second", y=("train/pairs_per_second",)),
    )
    cost = _scatter("Effectiveness against training FLOPs", "cost/train_flops", "eff/contrastive_entropy")
    text = PanelSpec("text", "Conclusions", text="\n\n".join(conclusions))
    return ({"What the runs show": (text,)} if conclusions else {}) | {
        "Scaling": scaling,
        "Effectiveness against robustness": (frontier,),
        "Pareto training": steps,
        "Ranking quality": ranking,
        "Cost": (cost,),
    }


def _scatter(title: str, x: str, y: str) -> PanelSpec:
    return PanelSpec("scatter", title, x, (y,), log_x=True, log_y=True)


def split_path(path: str) -> tuple[str, str]:
    """Entity and project of ``ENTITY/PROJECT``; raises ConfigError on anything else."""
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(f"--wandb {path}: expected ENTITY/PROJECT")
    return entity, project


def require_package() -> tuple[Any, Any]:
    """The package's modules ``workspaces`` and ``reports.v2``; raises DashboardError without it."""
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise DashboardError(
            f"dashboard needs the wandb-workspaces package: pip install 'paretrieve[dashboards]'; {INSTEAD}"
        ) from None
    return workspaces, reports


def workspace(path: str, name: str, sections: Sections) -> Any:
    """A W&B workspace, not saved: a view of the project with one section a specification."""
    workspaces, reports = require_package()
    entity, project = split_path(path)
    drawn = [
        workspaces.Section(name=heading, panels=[_panel(reports, item) for item in items], is_open=True)
        for heading, items in sections.items()
    ]
    return workspaces.Workspace(entity=entity, project=project, name=name, sections=drawn)


def report(path: str, title: str, sections: Sections) -> Any:
    """A W&B report, not saved: a page with one panel grid a specification."""
    _, reports = require_package()
    entity, project = split_path(path)
    blocks: list[Any] = []
    for heading, items in sections.items():
        texts = [item.text for item in items if item.kind == "text"]
        drawn = [_panel(reports, item) for item in items if item.kind != "text"]
        blocks += [reports.H2(heading), *(reports.MarkdownBlock(text) for text in texts)]
        if drawn:
            runs = reports.Runset(entity=entity, project=project)
            blocks.append(reports.PanelGrid(runsets=[runs], panels=drawn))
    return reports.Report(entity=entity, project=project, title=title, blocks=blocks)


def _panel(reports: Any, item: PanelSpec) -> Any:
    if item.kind == "text":
        return reports.MarkdownPanel(markdown=item.text)
    if item.kind == "lines":
        return reports.LinePlot(title=item.title, x=item.x, y=list(item.y))
    return reports.ScatterPlot(
        title=item.title,
        x=reports.SummaryMetric(item.x),
        y=reports.SummaryMetric(item.y[0]),
        log_x=item.log_x,
        log_y=item.log_y,
    )


def publish(
    kind: Literal["workspace", "report"], path: str, title: str, conclusions: Sequence[str] = ()
) -> str:
    """Save the dashboard on the W&B server and return its address.

    Raises DashboardError, one line, when the package or an API key is missing or W&B does not answer.
    """
    split_path(path)
    require_package()
    if not has_wandb_key():
        raise DashboardError(
            f"dashboard needs a W&B API key: set WANDB_API_KEY or run `wandb login`; {INSTEAD}"
        )
    try:
        made = (workspace if kind == "workspace" else report)(path, title, panels(conclusions))
        made.save()
        return str(made.url)
    except Exception as error:  # the client raises its own, requests' and pydantic's errors alike
        text = f"W&B did not take the dashboard of {path}: {first_line(error)}; {INSTEAD}"
        raise DashboardError(text) from None
