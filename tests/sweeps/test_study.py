"""Studies: their files, plans, stages and analyses."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shlex
from pathlib import Path
from threading import Barrier
from typing import Any

import pandas as pd
import pytest
import typer
import yaml
from synthetic_runs import Sweep, table, write_runs

import sweeps
from retrieval.config.validation import validate
from retrieval.errors import ConfigError, ParetrieveError
from sweeps.cli import build, main
from sweeps.commands.study import LAPTOP
from sweeps.fitting.configurations import label_runs
from sweeps.launch import plan as planning
from sweeps.launch.calibration import Calibration, Point
from sweeps.records import Record
from sweeps.report.provenance import checklist
from sweeps.study import chosen, process, run
from sweeps.study.places import Places
from sweeps.study.plan import StagePlan, StudyPlan, compose_stages
from sweeps.study.provenance import collect_study
from sweeps.study.run import analyse, run_stages
from sweeps.study.spec import Scale, Study, load, names
from sweeps.table.files import read_table
from sweeps.table.runs import Collected
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "docs" / "results"
SCALES = [(name, scale) for name in names() for scale in load(name).scales]

SMALL = {
    "title": "A study",
    "question": "What?",
    "scales": {
        "smoke": {
            "about": "little",
            "stages": [
                {"name": "fixed", "overrides": ["strategy=pareto", "strategy.rule=fixed", "seed=1,2"]},
                {
                    "name": "mixture",
                    "command": "mixture --runs {runs} --out {steer}/mixture.json",
                    "makes": "{steer}/mixture.json",
                },
                {
                    "name": "law",
                    "overrides": ["strategy.rule=law", "strategy.mixture={steer}/mixture.json", "seed=1,2"],
                    "stand_in": ["strategy.rule=fixed", "strategy.omega=0.3"],
                    "keeps": ["model.pretrained"],
                },
            ],
        }
    },
    "analyses": {
        "frontier": "frontier --table {table} --bootstrap 20 --out {records}/frontier.json",
        "fit": "fit --table {table} --by strategy --metric adv/nothing --out {records}/fit.json",
    },
}


def written(folder: Path, data: Any = SMALL) -> Study:
    (folder / "small.yaml").write_text(yaml.safe_dump(data))
    return load("small", folder)


def places(folder: Path, collections: Path | None = None) -> Places:
    out = folder / "out"
    return Places(folder / "runs", out, out / "runs.csv", collections)


class Processes:
    """In place of processes: keeps the words, and ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *statuses: int, makes: Path | None = None) -> None:
        self.trained: list[list[str]] = []
        self.commands: list[list[str]] = []
        self._statuses, self._makes = list(statuses), makes
        monkeypatch.setattr(process, "train", self._train)
        monkeypatch.setattr(process, "sweeps", self._sweeps)

    def _train(self, overrides: list[str]) -> int:
        self.trained.append(list(overrides))
        return self._statuses.pop(0) if self._statuses else 0

    def _sweeps(self, words: list[str]) -> tuple[int, str]:
        self.commands.append(list(words))
        if self._makes is not None:
            self._makes.write_text("{}")
        return 0, ""


def test_stages_run_in_their_order_and_steering_files_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale, where = written(tmp_path).scale("smoke"), places(tmp_path)
    mixture = where.steer / "mixture.json"
    ran = Processes(monkeypatch, makes=mixture)
    assert run_stages(scale, where, ["seed=3", "model.pretrained=x"], print) == 0
    assert ran.trained == [
        ["strategy=pareto", "strategy.rule=fixed", "seed=3", "model.pretrained=x", f"runs={where.runs}"],
        ["strategy.rule=law", f"strategy.mixture={mixture}", "seed=3", f"runs={where.runs}"],
    ]
    assert ran.commands == [["mixture", "--runs", str(where.runs), "--out", str(mixture)]]
    assert run_stages(scale, where, [], print) == 0
    assert len(ran.commands) == 1


def test_stages_by_name_run_in_the_order_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale, where = written(tmp_path).scale("smoke"), places(tmp_path)
    ran = Processes(monkeypatch, makes=where.steer / "mixture.json")
    assert scale.only(()) == scale
    assert run_stages(scale.only(["law", "mixture"]), where, [], print) == 0
    assert (len(ran.commands), [words[0] for words in ran.trained]) == (1, ["strategy.rule=law"])


def test_stages_by_name_wait_for_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, where = written(tmp_path), places(tmp_path)
    whole, asked = study.scale("smoke"), list[list[str]]()

    def planned(done: int) -> None:
        def plan(_study: Study, scale: Scale, *_: object) -> StudyPlan:
            asked.append([stage.name for stage in scale.stages])
            return StudyPlan([StagePlan("fixed", 2, done, 9.0)], 9.0, 1, "here", [])

        monkeypatch.setattr(chosen, "plan_study", plan)

    def check(*names: str) -> None:
        chosen.check_chosen(study, whole, whole.only(names), where, [])

    planned(1)
    with pytest.raises(ConfigError, match=r"law reads .*mixture\.json, which stage mixture makes: run that"):
        check("law")
    with pytest.raises(ConfigError, match="reads the runs of stage fixed, of which 1 of 2 are not done: run"):
        check("mixture")
    assert asked == [["fixed"]]
    check("fixed", "mixture", "law")  # fixed runs first, or the study stops there
    planned(2)
    check("mixture", "law")
    where.steer.mkdir(parents=True)
    (where.steer / "mixture.json").write_text("{}")
    planned(0)
    check("mixture")  # what is there is kept
    check("law")


def test_one_stage_makes_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "calibrate", lambda *_: Calibration([Point(128, 2.0, 3.0)]))
    ran = Processes(monkeypatch)
    left = [
        "hydra/launcher=submitit_local",
        "hydra.launcher.wait=false",
    ]  # of one stage: nothing reads it yet
    assert main(["study", "pydocs", "--stage", "standard", "--", f"cache={tmp_path}/cache", *left]) == 0
    assert [[word for word in words if word.startswith("strategy=")] for words in ran.trained] == [
        ["strategy=standard,pooled"]
    ]
    assert ran.commands == []
    said = capsys.readouterr().out
    assert "stage 1 of 1: standard" in said
    assert said.endswith("with --no-train in place of --stage\n")
    assert not (tmp_path / "studies/pydocs-smoke/results").exists()


def test_the_status_of_a_failed_stage_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ran = Processes(monkeypatch, 130)
    assert run_stages(written(tmp_path).scale("smoke"), places(tmp_path), [], said.append) == 130
    assert (len(ran.trained), len(ran.commands)) == (1, 0)
    assert said[-1] == "stage fixed ended with exit status 130; the same command goes on from there"


def test_a_command_that_makes_nothing_stops_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Processes(monkeypatch)
    with pytest.raises(ParetrieveError, match=r"stage mixture did not write .*mixture\.json"):
        run_stages(written(tmp_path).scale("smoke"), places(tmp_path), [], print)


def test_a_plan_has_a_stand_in_for_what_is_not_there_yet(tmp_path: Path) -> None:
    where, stage = places(tmp_path), written(tmp_path).scale("smoke").stages[2]
    assert where.overrides(stage, planned=True)[:-1] == [
        "seed=1,2",
        "strategy.rule=fixed",
        "strategy.omega=0.3",
    ]
    where.steer.mkdir(parents=True)
    (where.steer / "mixture.json").write_text("{}")
    assert where.overrides(stage, planned=True) == where.overrides(stage)
    assert where.waits_for(stage) == []


def test_a_plan_counts_what_is_done() -> None:
    study = Study("s", "S", "Why?", {}, [])
    plan = StudyPlan([StagePlan("one", 4, 1, 90.0), StagePlan("two", 0, 0, 0.0)], 60.0, 2, "here", ["so"])
    lines = list(plan.lines(study, Scale("smoke", "little", [])))
    assert lines[1].split() == ["one", "4", "cells,", "1", "done,", "1:30", "of", "cells", "left"]
    assert lines[2].split() == ["two", "command"]
    assert lines[3] == "4 cells, 1 done; on here, 2 slots: about 1:00 for what is left"
    assert lines[4] == "so"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "question is no text"),
        ({"colour": "red"}, "unknown key colour"),
        ({"analyses": {"a": "fit --out {where}/a.json"}}, r"\{where\} stands for nothing"),
        ({"analyses": {"a": {"command": "fit", "scales": ["huge"]}}}, "scale huge does not exist"),
        ({"analyses": {"a": {"command": ["fit", 3]}}}, "analyses.a is no list of texts"),
        ({"analyses": {"a": []}}, "analyses.a is no text"),
        (
            {"analyses": {"a": "compare --table {records}/a.csv"}},
            r"reads \{records\}/a.csv: an analysis",
        ),
        (
            {"analyses": dict.fromkeys("ab", "frontier --out {records}/f.json")},
            r"analyses.b and analyses.a both write \{records\}/f.json",
        ),
        ({"scales": {"smoke": {"about": "x", "stages": [{"name": "a"}]}}}, "either overrides, or command"),
        ({"scales": {"smoke": {"about": "x", "stages": [], "device": "x"}}}, "no list of stages"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        written(tmp_path, SMALL | change)
    assert "small.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_command_is_a_text_or_a_list_of_texts(tmp_path: Path) -> None:
    metrics = ["--metric eff/mrr@10", "--metric\n  eff/ndcg@10"]
    parts = ["compare --table {table}", metrics, "--out {records}/compare.json"]
    (one, other) = written(
        tmp_path,
        SMALL | {"analyses": {"one": {"command": parts}, "other": [*parts[:2], "--out {records}/2.json"]}},
    ).analyses
    assert one.command == other.command.replace("2.json", "compare.json")
    assert one.words[3:7] == ["--metric", "eff/mrr@10", "--metric", "eff/ndcg@10"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "study nothing does not exist; choose among "),
        (
            ["pydocs", "--scale", "huge"],
            "--scale huge: study pydocs has no such scale; valid: smoke, laptop, gpu",
        ),
        (["pareto-by-steps"], "valid: none: it reads a table alone, give --table"),
        (["collections", "--plan"], "needs --collections DIR, a folder that holds these collections"),
        (["collections", "--plan", "--collections", "no"], "there is no wikiqa/corpus.jsonl"),
        (["pydocs", "--plan", "--runs", "a b"], "folder a b: a sweep would misread"),
        (["pydocs", "--plan", "--table", "x.csv"], "--table reads runs that are done"),
        (["pydocs", "--stage", "fixed", "--table", "x.csv"], "drop --plan"),
        (["pydocs", "--stage", "fixed", "--no-train"], "drop one of them"),
        (["pydocs", "--", "hydra.launcher.wait=false"], "name one stage with --stage NAME, or drop it"),
        (
            ["pydocs", "--stage", "fixed", "--stage", "pareto", "--", "++hydra.launcher.wait=False"],
            "++hydra.launcher.wait=False leaves runs in the queue",
        ),
        (
            ["pydocs", "--stage", "fixd"],
            "--stage fixd: scale smoke has no such stage; valid: standard, fixed, mixture, pareto, "
            "strategies",
        ),
        (["pydocs", "--table", "absent.csv"], "absent.csv: no such file"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_process_passes_its_status_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "train.py"
    script.write_text("import os, sys\nos.kill(os.getpid(), 9) if 'die' in sys.argv else sys.exit(3)\n")
    monkeypatch.setattr(process, "TRAIN", script)
    assert process.train(["seed=1"]) == 3
    assert process.train(["die"]) == 128 + 9


def test_the_table_says_where_each_run_comes_from(tmp_path: Path) -> None:
    sweep = Sweep(models=("bert-tiny",), fractions=(0.1,), strategies=("standard",), seeds=(1, 2))
    frame = collect_study(write_runs(tmp_path, sweep)).frame
    assert list(frame["provenance/commit"]) == ["0123456789abcdef"] * 2
    assert list(frame["provenance/torch"]) == ["2.13.0"] * 2
    assert list(frame["eff/contrastive_entropy"]) == list(
        table(sweep).sort_values("run")["eff/contrastive_entropy"]
    )


def test_every_analysis_is_a_command_that_there_is() -> None:
    group = typer.main.get_command(build())
    for name in names():
        stages = [stage.command for scale in load(name).scales.values() for stage in scale.stages]
        for words in [*(analysis.words for analysis in load(name).analyses), *filter(None, stages)]:
            chosen = group.commands[words[0]]  # type: ignore[attr-defined]
            parser = chosen.make_parser(chosen.context_class(chosen, info_name=words[0]))
            _, left, _ = parser.parse_args(list(words[1:]))
            assert left == [], shlex.join(words)


def test_every_registered_page_is_there() -> None:
    for name in names():
        page = load(name).registered
        assert page is None or (REPOSITORY / page).is_file()


def test_every_committed_table_has_a_study() -> None:
    assert {path.parent.name for path in RESULTS.glob("*/runs.csv")} <= set(names())


def kinds() -> dict[str, type[Record]]:
    """The records that the commands write, by the name of the command."""
    for module in pkgutil.walk_packages(sweeps.__path__, "sweeps."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = {}, [Record]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        found |= {kind.command: kind} if kind.command else {}
    return found


KINDS = kinds()


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*/runs.csv")), ids=lambda path: path.parent.name)
def test_committed_records_are_of_the_committed_table_and_of_the_study_as_it_is(table: Path) -> None:
    tables = [read_table(path) for path in table.parent.glob("*.csv") if path.stem != "analyses"]
    for path in sorted((table.parent / "records").glob("*.json")):
        kind = KINDS[max((name for name in KINDS if path.stem.startswith(name)), key=len)]
        source = kind.load(path).source  # type: ignore[attr-defined]
        assert any(map(source.is_of, tables)), f"{path.name} is of other runs: make results"
    study = load(table.parent.name)
    asked = [one.name for one in study.analyses_at(LAPTOP if LAPTOP in study.scales else None)]
    made = list(read_table(table.parent / "analyses.csv")["analysis"])
    assert made == [*asked, "report"], "make results"


def test_the_page_says_what_the_table_says_of_its_code(tmp_path: Path) -> None:
    sweep = Sweep(models=("bert-tiny",), fractions=(0.1,), strategies=("standard",), seeds=(1, 2))
    runs = label_runs(collect_study(write_runs(tmp_path, sweep)).frame)
    answers = dict(checklist(Collected(runs), [], None))
    assert answers["Code"] == "commit 0123456789ab, torch 2.13.0"
    assert answers["Hardware"] == "A processor, cpu"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_stage_composes(name: str, scale: str, tmp_path: Path) -> None:
    study = load(name)
    narrow = ["model=bert-tiny", "data.frac=0.05", "seed=1", "model.pretrained=folder"]
    narrow = narrow if name == "collections" else narrow[:-1]
    found = compose_stages(study, study.scale(scale), places(tmp_path, tmp_path / "collections"), narrow)
    for stage, cells in found:
        assert bool(cells) == bool(stage.overrides)
        assert [validate(cell.config).runs for cell in cells] == [str(tmp_path / "runs")] * len(cells)


@pytest.mark.slow
def test_a_plan_reads_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "calibrate", lambda *_: Calibration([Point(128, 2.0, 3.0)]))
    command = f"study families --scale smoke --plan --runs {tmp_path}/runs --out {tmp_path}/out"
    assert main([*command.split(), "--", f"cache={tmp_path}/cache", "seed=1"]) == 0
    said = capsys.readouterr().out
    assert "8 cells, 0 done; on this machine" in said
    assert "data not read" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("before", "reason", "expected"),
    [
        (None, "metric nothing is not in the table", "refused"),
        ("done", "metric nothing is not in the table", "failed"),
        ("failed", "metric nothing is not in the table", "failed"),
        ("refused", "metric nothing is not in the table", "refused"),
        (None, "No such option: --nothing; see python -m sweeps --help", "failed"),
    ],
)
def test_a_refusal_fails_where_the_command_was_done_before_or_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, reason: str, expected: str
) -> None:
    study, where = written(tmp_path), places(tmp_path)
    where.out.mkdir()
    (analysis, *_) = study.analyses_at("smoke")
    if before is not None:
        row = {"analysis": "another name", "outcome": before, "reason": "", "command": analysis.command}
        pd.DataFrame([row]).to_csv(where.out / "analyses.csv", index=False)
    monkeypatch.setattr(process, "sweeps", lambda words: (0, "") if words[0] == "report" else (2, reason))
    for _ in range(2):  # what was lost is not forgotten
        assert analyse(study, "smoke", where, print) == (expected == "failed")
        outcomes = pd.read_csv(where.out / "analyses.csv").set_index("analysis")
        assert outcomes.loc[analysis.name, "outcome"] == expected
        assert outcomes.loc[analysis.name, "reason"].endswith(reason)


def test_analyses_run_side_by_side_and_the_report_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, where, said = written(tmp_path), places(tmp_path), list[str]()
    where.out.mkdir()
    together, ended = Barrier(2, timeout=30), list[str]()

    def command(words: list[str]) -> tuple[int, str]:
        if words[0] != "report":
            together.wait()  # broken, which fails the test, where one waits for the end of the other
        ended.append(words[0])
        return 0, ""

    monkeypatch.setattr(run, "available_cores", lambda: 2)
    monkeypatch.setattr(process, "sweeps", command)
    assert analyse(study, "smoke", where, said.append) == 0
    assert said[:3] == ["fit: done", "frontier: done", "report: done"]
    assert ended[2:] == ["report"]
    assert list(pd.read_csv(where.out / "analyses.csv")["analysis"]) == ["fit", "frontier", "report"]


@pytest.mark.slow
def test_what_a_table_lacks_is_named_and_does_not_fail(tmp_path: Path) -> None:
    sweep = Sweep(
        models=("bert-tiny",), fractions=(0.1, 1.0), strategies=("standard", "pareto"), seeds=(1, 2)
    )
    where = places(tmp_path)
    where.out.mkdir()
    table(sweep).to_csv(where.table, index=False)
    assert analyse(written(tmp_path), "smoke", where, print) == 0
    outcomes = pd.read_csv(where.out / "analyses.csv").set_index("analysis")
    assert dict(outcomes["outcome"]) == {"frontier": "done", "fit": "refused", "report": "done"}
    assert "adv/nothing" in outcomes.loc["fit", "reason"]
    assert (where.records / "frontier.json").is_file()
    assert (where.out / "index.html").is_file()


@pytest.mark.parametrize("exact", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_committed_table_gives_its_committed_files(tmp_path: Path, exact: bool) -> None:
    committed = RESULTS / "adversarial-by-steps"
    assert (
        main(["study", committed.name, "--table", str(committed / "runs.csv"), "--out", str(tmp_path)]) == 0
    )
    kept = ["index.html", "analyses.csv", "records/compare.json", "records/compare-loss.json"]
    kept += ["records/frontier.json", "tables/compare.csv"]
    for name in kept:
        made, known = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, committed))
        # Processors may differ in the last digits of a record, which pages round away.
        if name.endswith(".json") and not exact:
            assert numbers_of(json.loads(made)) == pytest.approx(numbers_of(json.loads(known)), rel=1e-9)
            made, known = (re.sub(r"-?\d[\d.e+-]*", "0", text) for text in (made, known))
        assert made == known, name


def numbers_of(value: Any) -> list[float]:
    """All numbers of a record, in their order."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers_of(part)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.slow
def test_a_study_runs_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SMALL | {
        "scales": {
            "smoke": {
                "about": "two cells",
                "stages": [
                    {
                        "name": "standard",
                        "overrides": [
                            *("model=bert-tiny", "data=synthetic", "data.passages=300", "data.queries=200"),
                            *("data.words=300", "data.vocabulary=400", "train.steps=3", "train.batch_size=8"),
                            *("eval.pool=150", "eval.negatives=32", "eval.draws=1", "logger=none"),
                            *("seed=1,2", f"cache={tmp_path}/cache", "hydra.launcher.slots=1"),
                        ],
                    }
                ],
            }
        }
    }
    study, where = written(tmp_path, data), places(tmp_path)
    assert run_stages(study.scale("smoke"), where, [], print) == 0
    finished = {path: path.stat().st_mtime_ns for path in where.runs.glob("*/result.json")}
    assert len(finished) == 2
    assert run_stages(study.scale("smoke"), where, [], print) == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    frame = collect_study(where.runs).frame
    assert len(frame) == 2
    assert frame["provenance/torch"].notna().all()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_smallest_scale_of_pydocs_runs(tmp_path: Path) -> None:
    words = ["study", "pydocs", "--scale", "smoke", "--runs", str(tmp_path / "runs")]
    assert main([*words, "--out", str(tmp_path / "out"), "--", f"cache={tmp_path / 'cache'}"]) == 0
    runs = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert len(runs) == 60
    assert set(runs["strategy"]) == {
        *("standard", "pooled", "pareto", "hard-negative", "denoising", "adversarial")
    }
    assert set(pd.read_csv(tmp_path / "out" / "analyses.csv")["outcome"]) == {"done"}
