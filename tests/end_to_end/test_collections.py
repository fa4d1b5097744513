"""Whole commands on real-collection sources: a run on a set from a local server, and no network at all."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retrieval import evaluate
from retrieval.config.beir_sets import BEIR_SETS
from retrieval.run.files import read_json
from tests.conftest import REPOSITORY
from tests.data.serving import Served, archive, serve
from tests.end_to_end.conftest import SMALL, composed

OWN = [override for override in SMALL if not override.startswith("data.") or "vocabulary" in override]


def publish(served: Served, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"{name} word{number}" for number in range(200)]
    passages = [{"_id": f"p{number}", "title": "", "text": text} for number, text in enumerate(words)]
    queries = {f"q{number}": f"which is {text}" for number, text in enumerate(words)}
    pairs = [(f"q{number}", f"p{number}", 1) for number in range(200)]
    row = BEIR_SETS[name]
    judged = {"train": pairs[:150], "dev": pairs[150:170], "test": pairs[170:]}
    md5 = archive(folder / row.file, name, passages, queries, {split: judged[split] for split in row.splits})
    served.files[row.file] = (folder / row.file).read_bytes()
    monkeypatch.setitem(BEIR_SETS, name, dataclasses.replace(row, md5=md5))


@pytest.mark.slow
def test_a_run_and_an_evaluation_on_a_suite_of_public_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.pipeline import run_cell

    served = Served()
    server = serve(served)
    for name in ("fiqa", "scifact", "nfcorpus", "arguana"):
        publish(served, tmp_path, name, monkeypatch)
    suite = ["suite=beir-small", "data.ood=[beir/arguana]", f"data.beir_url={served.url}"]
    places = [f"cache={tmp_path / 'cache'}", f"runs={tmp_path / 'runs'}"]
    own = [override for override in OWN if override != "data=synthetic"]
    result = run_cell(composed(*own, *suite, *places, "strategy=pareto"))
    server.shutdown()
    server.server_close()
    assert result["data"] == "fiqa"
    assert {"dev/ood/nfcorpus/ndcg@10", "dev/eff/ndcg@10", "ood/arguana/ndcg@10", "ood/ndcg@10"} <= set(
        result
    )
    assert result["dev/ood/ndcg@10"] == result["dev/ood/nfcorpus/ndcg@10"]
    assert result["ood/ndcg@10"] == result["ood/arguana/ndcg@10"]
    [run] = (tmp_path / "runs").glob("bert-l2-h64_fiqa_*")

    # All is in the cache now: the same suite, named or taken from the run, is measured without a server.
    out = tmp_path / "measured.json"
    limits = [override for override in own if override.startswith("eval.")]
    for overrides in ([], [*suite, *limits, places[0]]):
        assert evaluate.main(["--run", str(run), "--out", str(out), *overrides]) == 0
        measured = read_json(out) or {}
        for key in ("ood/ndcg@10", "dev/ood/ndcg@10"):
            assert measured[key] == pytest.approx(result[key], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True])
def test_without_a_network_one_line_says_what_to_download_where(tmp_path: Path, sweep: bool) -> None:
    arguments = ["data=beir/scifact", "data.beir_url=http://127.0.0.1:9", "logger=none", "cache=c", "runs=r"]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), *(["-m", "seed=1,2"] if sweep else []), *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    lines = [line for line in done.stderr.splitlines() if "cannot download" in line]
    assert lines
    if not sweep:
        row = BEIR_SETS["scifact"]
        assert len(lines) == 1
        assert f"(3 MB, md5 {row.md5}) and put it at {tmp_path}/c/downloads/beir/scifact.zip" in lines[0]


def test_a_suite_names_the_data_of_a_measurement(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    OmegaConf.save(composed("data=synthetic"), run / "config.yaml", resolve=True)
    assert evaluate._compose(["eval=full"], run).data.name == "synthetic"
    assert evaluate._compose(["suite=beir-small"], run).data.collection == "fiqa"
