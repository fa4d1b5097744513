"""The report: what it writes, what it escapes, and how it says what little data cannot show."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import Sweep, table, write_runs

from sweeps.cli import main
from sweeps.codes import CODES
from sweeps.diagnostics import TableError
from sweeps.fitting.configurations import label_runs
from sweeps.frontier.trace import frontier
from sweeps.report.baseline import comparison_section, efficiency_section
from sweeps.report.build import ReportOptions, build_report
from sweeps.report.figures.curves import objective_name
from sweeps.report.figures.plane import moving_panel
from sweeps.report.figures.style import Panel, drawing, save
from sweeps.report.page import Section
from sweeps.report.reproduce import commands
from sweeps.report.scaling import domains
from sweeps.report.tradeoff import frontier_section
from sweeps.report.written import Written
from sweeps.table.runs import Collected, collect_runs

TINY = Sweep(models=("bert-mini",), fractions=(0.1, 1.0), strategies=("standard",))
LITTLE = Sweep(models=("bert-tiny", "bert-mini"), fractions=(0.1, 1.0), strategies=("standard",))
DEMO = Sweep(fractions=(0.05, 0.2, 1.0), models=("bert-tiny", "bert-small"))
WHOLE = Sweep(
    fractions=(0.03, 0.1, 0.3, 1.0),
    seeds=(1, 2),
    strategies=("standard", "pareto", "fixed-0.25", "fixed-0.5", "fixed-0.75"),
    extra={"train/steps": 600, "train/pairs_per_step": 64},
)


class Outline(HTMLParser):
    """Tags, links and ids of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src", "xlink:href") and value:
                self.links.append(value)


def outline(page: Path) -> Outline:
    found = Outline()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def report(folder: Path, sweep: Sweep, formats: tuple[str, ...] = ("svg",)) -> Path:
    runs = write_runs(folder / "runs", sweep)
    return build_report(collect_runs(runs), folder / "out", ReportOptions(runs_folder=runs, formats=formats))


def test_dev_metrics_are_no_test_metrics() -> None:
    keys = ("ood/contrastive_entropy", "ood/far/contrastive_entropy", "eff/contrastive_entropy")
    assert domains(pd.DataFrame([dict.fromkeys([*keys, *(f"dev/{key}" for key in keys)], 1.0)])) == ["far"]
    names = {f"dev/{key}": objective_name(f"dev/{key}") for key in keys}
    assert list(names.values()) == ["Dev: OOD robustness", "Dev: OOD: far", "Dev: effectiveness"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("demo"), DEMO)


def test_page_is_self_contained(demo: Path) -> None:
    found = outline(demo)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert "img" not in found.tags
    outside = [link for link in found.links if not link.startswith("#")]
    assert all((demo.parent / link).is_file() for link in outside)
    assert not re.search(r"url\((?!#)", demo.read_text(encoding="utf-8"))


def test_ids_are_unique_and_links_reach_them(demo: Path) -> None:
    found = outline(demo)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_expected_figures(demo: Path) -> None:
    names = {path.stem for path in (demo.parent / "figures").iterdir()}
    assert {"data-eff", "data-ood", "model-eff", "omega", "frontier", "efficiency-D"} <= names
    assert {"ranking-eff", "domain-1", "cost-time"} <= names


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_whole_sweep_has_joint_laws_and_sensitivities(tmp_path: Path) -> None:
    page = report(tmp_path, WHOLE, formats=("svg", "pdf", "png"))
    names = {path.name for path in (page.parent / "figures").iterdir()}
    assert {
        "joint-eff-standard.pdf",
        "joint-ood-pareto.png",
        "frontier-cell.svg",
    } <= names
    fits = [json.loads(path.read_text()) for path in (page.parent / "fits").glob("joint*.json")]
    assert {fit["law"] for fit in fits} == {"joint"}
    sensitivity = json.loads((page.parent / "sensitivity-standard.json").read_text())
    assert {item["resource"] for item in sensitivity["differences"]} == {"N", "D"}
    notes = re.findall(r'class="note">(\w+):', page.read_text(encoding="utf-8"))
    assert not notes


@pytest.mark.parametrize("second_is_dominated", [False, True])
def test_frontier_moves_only_where_there_are_two_frontiers(second_is_dominated: bool) -> None:
    better = {0.1: (2.5, 3.1), 1.0: (2.5, 3.9) if second_is_dominated else (2.5, 3.1)}
    rows = [
        {"model": "bert-tiny", "frac": frac, "strategy": strategy, "eff/contrastive_entropy": eff}
        | {"ood/contrastive_entropy": ood}
        for frac, other in better.items()
        for strategy, (eff, ood) in (("standard", (2.0, 3.5)), ("pooled", other))
    ]
    assert (moving_panel(frontier(pd.DataFrame(rows))) is None) == second_is_dominated


def test_figures_come_in_three_formats(tmp_path: Path) -> None:
    with drawing() as (figure, axes):
        axes.plot([1, 2], [3, 4])
    save(Panel("line", "a line", figure), tmp_path)
    starts = {"svg": b"<?xml", "pdf": b"%PDF-1", "png": b"\x89PNG"}
    assert {kind: (tmp_path / f"line.{kind}").read_bytes()[: len(s)] for kind, s in starts.items()} == starts


def test_tables_and_fits_hold_full_precision(demo: Path) -> None:
    runs = pd.read_csv(demo.parent / "tables" / "runs.csv")
    assert len(runs) == 12
    assert "eff/contrastive_entropy" in runs
    fits = [json.loads(path.read_text()) for path in (demo.parent / "fits").glob("*.json")]
    assert {"data-no-floor"} == {fit["law"] for fit in fits}


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    page = report(tmp_path, Sweep(**{**LITTLE.__dict__, "extra": {"model": evil, "data": "<img src=x>"}}))
    found = outline(page)
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert "&lt;script&gt;" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sweep", "codes"),
    [
        (
            Sweep(models=("bert-mini",), fractions=(1.0,), strategies=("standard",)),
            {"FEWER_THAN_3_LEVELS", "NO_PARETO_RUNS", "ONE_STRATEGY", "NO_COMPARISON", "NO_FIT"},
        ),
        (LITTLE, {"FEWER_THAN_3_LEVELS", "NO_PARETO_RUNS", "NO_FIT"}),
        (
            Sweep(
                models=("bert-mini",), fractions=(0.1, 0.3), extra={"eff/ndcg@10": None, "ood/ndcg@10": None}
            ),
            {"FEWER_THAN_3_LEVELS", "NO_RANKING_METRIC", "NO_FIT"},
        ),
    ],
)
def test_what_cannot_be_shown_is_said_by_code(tmp_path: Path, sweep: Sweep, codes: set[str]) -> None:
    notes = re.findall(r'class="note">(\w+):', report(tmp_path, sweep).read_text(encoding="utf-8"))
    assert codes <= set(notes)


def test_frontier_and_efficiency_of_the_page_are_written(demo: Path) -> None:
    frontier = json.loads((demo.parent / "frontier.json").read_text())
    assert frontier["knee"]["configuration"] == "bert-small · frac 1 · pareto"
    efficiency = json.loads((demo.parent / "efficiency-pareto.json").read_text())
    worth = efficiency["headline"]["D"]["ood/contrastive_entropy"]
    assert worth["multiplier"] > 1.5


def test_checklist_answers_from_configuration_and_manifest(demo: Path) -> None:
    text = demo.read_text(encoding="utf-8")
    for expected in (
        "12,800 pairs seen, steps 200, batch_size 64, lr 0.001",
        "commit 0123456789ab, torch 2.13.0",
        "pydocs c0ffeec0ffeec0ff",
        "W = 256 random irrelevant passages, mean of 10 draws",
        "A processor, cpu",
    ):
        assert expected in text


def shown(runs: Path, out: Path) -> str:
    """Text of the page that shows what the commands wrote beside the runs."""
    assert main(["report", "--runs", str(runs), "--out", str(out), "--formats", "svg"]) == 0
    return html.unescape((out / "index.html").read_text(encoding="utf-8"))


def test_the_page_shows_what_the_commands_wrote_until_the_runs_change(tmp_path: Path) -> None:
    sweep = Sweep(models=("bert-mini",), fractions=(0.05, 0.2, 1.0), strategies=("standard", "pareto"))
    runs, fit = write_runs(tmp_path / "runs", sweep), tmp_path / "fit.json"
    options = ["--law", "data-no-floor", "--by", "strategy", "--loss", "huber", "--bootstrap", "30"]
    assert main(["fit", "--runs", str(runs), *options, "--out", str(fit)]) == 0
    assert (
        main(["frontier", "--runs", str(runs), "--knee", "ideal", "--out", str(tmp_path / "frontier.json")])
        == 0
    )
    page = shown(runs, tmp_path / "report")
    said = "fit.json gives the law of pareto, eff/contrastive_entropy: data-no-floor"
    assert f"{said}, fitted with loss huber, bootstrap 30." in page
    assert "frontier.json, written by `python -m sweeps frontier`, is shown." in page
    record = json.loads(fit.read_text())["groups"]["pareto"]
    copied = json.loads((tmp_path / "report/fits/data-eff-pareto-bert-mini.json").read_text())
    assert (copied["params"], copied["options"]) == (record["params"], record["options"])
    assert f"{record['params']['beta']:.3g}" in page
    assert json.loads((tmp_path / "report/frontier.json").read_text())["knee"]["rule"] == "ideal"

    result = next(runs.glob("*/result.json"))
    changed = json.loads(result.read_text())
    result.write_text(
        json.dumps(changed | {"eff/contrastive_entropy": changed["eff/contrastive_entropy"] * 1.1})
    )
    page = shown(runs, tmp_path / "again")
    reason = "is not used: it is older: the runs that it was made from have changed. The page fits anew."
    assert f"fit.json {reason}" in page
    assert f"frontier.json {reason}" in page
    anew = json.loads((tmp_path / "again/fits/data-eff-pareto-bert-mini.json").read_text())
    assert (anew["options"]["loss"], anew["options"]["bootstrap"]) == ("least-squares", 1000)
    assert json.loads((tmp_path / "again/frontier.json").read_text())["knee"]["rule"] == "chord"


def test_a_page_of_some_runs_does_not_call_records_of_all_older(tmp_path: Path) -> None:
    sweep = Sweep(models=("bert-mini",), fractions=(0.05, 0.2, 1.0), strategies=("standard", "pareto"))
    runs, out = write_runs(tmp_path / "runs", sweep), tmp_path / "report"
    made = ["--runs", str(runs), "--out", str(tmp_path / "frontier.json")]
    assert main(["frontier", *made]) == 0
    chosen = ["--where", "frac=0.05,0.2", "--out", str(out), "--formats", "svg"]
    assert main(["report", "--runs", str(runs), *chosen]) == 0
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "is not used" not in page
    assert "frontier.json, written by" not in page


def test_a_record_of_other_metrics_or_of_some_runs_is_not_shown(tmp_path: Path) -> None:
    sweep = Sweep(
        models=("bert-mini",), fractions=(0.1, 1.0), strategies=("standard", "pareto"), seeds=(1, 2)
    )
    runs = write_runs(tmp_path / "runs", sweep)
    frame = collect_runs(runs).frame

    def write(command: str, name: str, *words: str) -> None:
        out = ["--runs", str(runs), "--out", str(tmp_path / f"{name}.json")]
        assert main([*command.split(), *words, *out]) == 0

    def found(section: Section) -> list[str]:
        return [text for text in section.paragraphs if "is shown." in text]

    # Both come before the right file by name.
    write("frontier --y ood/ndcg@10", "frontier-adv")
    write("compare --metric eff/ndcg@10", "compare-adv")
    write("compare --where frac=0.1", "compare-few")
    labelled = label_runs(frame)
    written = Written(tmp_path, frame)
    assert frontier_section(labelled, written).records["frontier"].front.y == "ood/contrastive_entropy"
    section = comparison_section(labelled, written)
    assert section is not None
    record = section.records["compare-pareto"]
    assert record.metrics == ["eff/contrastive_entropy", "ood/contrastive_entropy"]
    assert len(record.cells) == 2
    assert found(section) == []

    write("frontier --knee ideal", "frontier")
    write("compare --level 0.9", "compare")
    written = Written(tmp_path, frame)
    section = frontier_section(labelled, written)
    assert section.records["frontier"].front.knee.rule == "ideal"
    assert found(section) == ["frontier.json, written by `python -m sweeps frontier`, is shown."]
    section = comparison_section(labelled, written)
    assert section is not None
    assert section.records["compare-pareto"].level == 0.9


def test_a_fit_without_the_runs_held_out_is_not_the_fit_of_the_page(tmp_path: Path) -> None:
    sweep = Sweep(models=("bert-mini",), fractions=(0.05, 0.2, 0.5, 1.0), strategies=("standard",))
    runs, condition = write_runs(tmp_path / "runs", sweep), "frac=1.0"
    options = ["--law", "data-no-floor", "--bootstrap", "0", "--out", str(tmp_path / "fit.json")]
    for held, said in ((["--held-out", condition], False), ([], True)):
        assert main(["fit", "--runs", str(runs), *options, *held]) == 0
        section = Section("law", "Law")
        found = Written(tmp_path, collect_runs(runs).frame).fit(
            section, "standard", "eff/contrastive_entropy", ("D",)
        )
        assert (found is not None) == said
        reason = f"fit.json is not used: it was fitted without the runs of --held-out {condition}. "
        assert section.notes == ([] if said else [reason + "The page fits anew."])


def test_a_broken_file_is_named_and_a_dev_frontier_is_no_report(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", TINY)
    (tmp_path / "frontier.json").write_text("{}")
    path = tmp_path / "frontier.json"
    page = shown(runs, tmp_path / "report")
    assert (
        f"frontier.json is not used: {path}: not a record of `python -m sweeps frontier`: x is missing"
        in page
    )
    dev = {f"dev/{name}": 2.0 for name in ("eff/contrastive_entropy", "ood/contrastive_entropy")}
    steering = write_runs(tmp_path / "others" / "runs", Sweep(**{**TINY.__dict__, "extra": dev}))
    out = steering.parent / "frontier.json"
    assert main(["frontier", "--dev", "--runs", str(steering), "--out", str(out)]) == 0
    assert "frontier.json, written" not in shown(steering, tmp_path / "again")


def test_strategies_are_compared_seed_by_seed(tmp_path: Path) -> None:
    sweep = Sweep(
        models=("bert-mini",),
        fractions=(0.1, 1.0),
        seeds=(1, 2, 3),
        strategies=("standard", "pareto", "fixed-0.5"),
    )
    text = shown(write_runs(tmp_path / "runs", sweep), tmp_path / "report")
    assert 'id="comparison"' in text
    lines = pd.read_csv(tmp_path / "report/tables/compare.csv")
    assert set(lines["strategy"]) == {"pareto", "fixed ω=0.5"}
    assert len(lines) == 4
    assert (lines["pairs"] == 3).all()
    record = json.loads((tmp_path / "report/compare-pareto.json").read_text())
    found = record["cells"][0]["by"]["mean"]
    assert f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]" in text


def test_commands_name_models_fractions_and_fixed_omegas() -> None:
    sweep = Sweep(
        models=("bert-mini",), fractions=(0.1, 1.0), strategies=("standard", "fixed-0.25", "fixed-1")
    )
    lines = commands(label_runs(table(sweep)), Path("runs"))
    train = "python train.py -m model=bert-mini data=pydocs data.frac=0.1,1"
    assert f"{train} strategy=standard attack=none seed=1" in lines
    assert f"{train} strategy=pareto strategy.rule=fixed strategy.omega=0.25,1 attack=none seed=1" in lines
    assert 'python -m sweeps efficiency --runs runs --baseline standard --strategy "fixed ω=0.25"' in lines
    assert lines == commands(label_runs(table(sweep).assign(**{"omega/mixing": "steps"})), Path("runs"))


def test_commands_name_every_setting_that_the_table_states() -> None:
    same = {"model": "bert-tiny", "data": "pydocs", "frac": 0.1, "seed": 1, "omega/mixing": "steps"}
    same |= {"train/steps": 600, "train/pairs_per_step": 32.0, "omega/robust": "ood"}
    dro = {"strategy": "pareto", "omega/rule": "dro", "omega/target_eff": 1.0, "omega/target_rob": 1.0}
    rows = [
        {"strategy": "adversarial", "perturbation/kind": "pgd"},
        {"strategy": "adversarial", "perturbation/kind": "pgd", "omega/mixing": "loss"},
        *(dro | {"omega/eta": 0.1, "omega/initial": 0.5, "seed": seed} for seed in (1, 2)),
        *(
            dro | {"omega/target_source": "/tmp/x/f.json", "omega/eta": eta, "omega/initial": begun}
            for eta in (0.01, 0.1)
            for begun in (float(np.float32(0.1)), 0.9)
        ),
        {"strategy": "pareto", "omega/rule": "law", "base_strategy": "denoising", "omega/robust": "both"},
    ]
    lines = commands(label_runs(pd.DataFrame([same | row for row in rows])), None, "omega --scale laptop")
    train = "python train.py -m model=bert-tiny data=pydocs data.frac=0.1 train.steps=600 train.batch_size=32"
    assert lines[0] == "python -m sweeps study omega --scale laptop"
    assert set(lines[1:6]) == {
        f"{train} {words}"
        for words in (
            "strategy=adversarial strategy.perturbation.kind=pgd attack=none seed=1",
            "strategy=adversarial strategy.mixing=loss strategy.perturbation.kind=pgd attack=none seed=1",
            "strategy=pareto strategy.rule=dro attack=none seed=1,2",
            "strategy=pareto strategy.rule=dro strategy.eta=0.01,0.1 strategy.omega=0.1,0.9 "
            "strategy.frontier=f.json attack=none seed=1",
            "strategy=pareto strategy.robust=both strategy.base=denoising strategy.rule=law "
            "strategy.mixture=mixture.json attack=none seed=1",
        )
    }


def test_commands_name_settings_that_were_changed() -> None:
    same = {"model": "bert-tiny", "data": "pydocs", "frac": 0.1, "seed": 1, "strategy": "standard"}
    rows = [same, same | {"model/dropout": 0.1, "train/lr": 0.002}, same | {"model/query_prompt": "query: "}]
    lines = commands(label_runs(pd.DataFrame(rows)), None)
    train, rest = "python train.py -m model=bert-tiny data=pydocs data.frac=0.1", "attack=none seed=1"
    assert set(lines[:3]) == {
        f"{train} strategy=standard {rest}",  # a prompt is left to config.yaml
        f"{train} model.dropout=0.1 train.lr=0.002 strategy=standard {rest}",
    }


def test_the_multiplier_that_is_drawn_is_of_pareto_training_at_the_size_with_the_most_levels() -> None:
    sweep = Sweep(models=("bert-tiny", "bert-mini"), strategies=("standard", "adversarial", "pareto"))
    runs = table(sweep)
    runs.loc[runs["omega/rule"].notna(), "omega/rule"] = "law"
    runs = runs[(runs["model"] == "bert-tiny") | (runs["frac"] >= 0.25)]
    section = efficiency_section(label_runs(runs), Written(None, runs))
    (panel,) = [panel for panel in section.panels if panel.name == "efficiency-D-interpolated"]
    axes = panel.figure.axes[0]
    assert axes.get_xlabel() == "training pairs D of pareto law"
    assert axes.get_title("left") == "Multiplier on D, bert-tiny, as measured"


def test_efficiency_is_shown_by_law_and_as_measured_for_every_amount_of_data(demo: Path) -> None:
    record = json.loads((demo.parent / "efficiency-pareto-interpolated.json").read_text())
    assert record["law"] == "interpolated"
    levels = pd.read_csv(demo.parent / "tables" / "efficiency-levels.csv")
    assert set(levels["law"]) == {"data-no-floor", "interpolated"}
    assert len(levels) == 2 * len(DEMO.models) * len(DEMO.fractions)
    assert {"to match both", "in each"} <= set(levels) & set(
        pd.read_csv(demo.parent / "tables" / "efficiency.csv")
    )
    page = demo.read_text(encoding="utf-8")
    assert 'id="figure-efficiency-D-interpolated"' in page
    assert "data it needs in each of them" in page


def test_codes_recorded_by_runs_reach_the_page(tmp_path: Path) -> None:
    codes = ["OMEGA_SATURATED", "AT_CHANCE_LEVEL", "FROM_ANOTHER_VERSION"]
    sweep = Sweep(**{**TINY.__dict__, "extra": {"warnings": [{"code": code} for code in codes]}})
    page = report(tmp_path, sweep).read_text(encoding="utf-8")
    for code in codes[:2]:
        assert code in page
        assert html.escape(CODES[code].meaning) in page
        assert html.escape(CODES[code].remedy) in page
    assert "FROM_ANOTHER_VERSION" in page
    assert "another version of this project recorded this code" in page


def test_table_without_contrastive_entropy_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"model": ["a"], "frac": [1.0], "strategy": ["standard"]})
    with pytest.raises(TableError, match="no run has a contrastive entropy"):
        build_report(Collected(frame), tmp_path)


def test_table_with_metrics_alone_gives_a_page(tmp_path: Path) -> None:
    frame = table(DEMO)[["size/params_non_embedding", "size/train_pairs", "eff/contrastive_entropy"]]
    page = build_report(Collected(frame), tmp_path, ReportOptions(formats=("svg",)))
    assert "NO_FRONTIER" in page.read_text(encoding="utf-8")


def test_equal_runs_give_an_equal_page(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", TINY)
    options = ReportOptions(runs_folder=runs, formats=("svg",))
    pages = [build_report(collect_runs(runs), tmp_path / name, options) for name in ("a", "b")]
    assert pages[0].read_text(encoding="utf-8") == pages[1].read_text(encoding="utf-8")


def test_runs_left_out_are_named(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", TINY)
    (runs / "broken").mkdir()
    failed = {"state": "failed", "error": {"type": "TrainingError", "message": "LOSS_NOT_FINITE: step 3"}}
    (runs / "broken" / "status.json").write_text(json.dumps(failed))
    page = build_report(
        collect_runs(runs), tmp_path / "out", ReportOptions(runs_folder=runs, formats=("svg",))
    )
    text = page.read_text(encoding="utf-8")
    assert "2 done, 1 failed" in text
    assert "LOSS_NOT_FINITE: step 3" in text


def test_no_finished_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no finished run"):
        build_report(Collected(pd.DataFrame()), tmp_path)


def test_command_prints_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write_runs(tmp_path / "runs", TINY)
    out = ["--out", str(tmp_path / "out"), "--formats", "svg"]
    assert main(["report", "--runs", str(runs), *out]) == 0
    assert f"wrote {tmp_path / 'out' / 'index.html'}" in capsys.readouterr().out
    assert main(["report", "--runs", str(tmp_path / "none"), *out]) == 2
    assert main(["report", "--runs", str(runs), "--formats", "gif"]) == 2
    assert "--formats gif does not exist; choose among svg, pdf, png" in capsys.readouterr().err
