"""The W&B dashboard: its panels, and one clear line where it cannot be made."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import Sweep, table

from retrieval.errors import ConfigError
from sweeps.cli import main
from sweeps.report import dashboard
from sweeps.report.dashboard import DashboardError, panels, publish

LOGGED = {
    "train/omega",
    "train/omega_distance",
    "train/loss_eff",
    "train/loss_rob",
    "train/pairs_per_second",
}


def test_every_panel_shows_a_key_that_runs_have() -> None:
    results = set(table(Sweep(fractions=(1.0,))))
    for items in panels().values():
        for item in items:
            known = results if item.kind == "scatter" else LOGGED | {"step"}
            assert {item.x, *item.y} <= known, item.title


def test_conclusions_come_first() -> None:
    first, *_ = panels(["It scales.", "Beware."]).values()
    assert [item.text for item in first] == ["It scales.\n\nBeware."]


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main(["dashboard", "--wandb", "team/project"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'paretrieve[dashboards]'; `python -m sweeps report` draws the same" in error


def test_without_a_key_one_line_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(dashboard, "require_package", lambda: (None, None))
    with pytest.raises(DashboardError, match="needs a W&B API key"):
        publish("workspace", "team/project", "x")


@pytest.mark.parametrize("path", ["project", "/project", "team/", "a/b/c"])
def test_malformed_project_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="expected ENTITY/PROJECT"):
        publish("workspace", path, "x")


def test_server_trouble_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(dashboard, "require_package", lambda: (None, None))

    def unreachable(*_: object) -> None:
        raise OSError("no route to host\nlong story")

    monkeypatch.setattr(dashboard, "workspace", unreachable)
    with pytest.raises(DashboardError, match="did not take the dashboard of team/project: no route to host;"):
        publish("workspace", "team/project", "x")


def test_workspace_of_the_real_package_holds_all_panels() -> None:
    pytest.importorskip("wandb_workspaces")
    made = dashboard.workspace("team/project", "Scaling", panels(["It scales."]))
    assert [section.name for section in made.sections] == list(panels(["x"]))
    assert sum(len(section.panels) for section in made.sections) == sum(map(len, panels(["x"]).values()))
    assert made._to_model().entity == "team"
