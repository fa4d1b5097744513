"""``data=local``: folders by role, and one line for each thing that can be wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.config.data import DataConfig
from retrieval.data import sources
from retrieval.data.sources.local import LocalConfig
from retrieval.errors import ConfigError, DataError

Write = Callable[..., Path]
TEST_ONLY = {"test": [("q1", "p1", 1)]}
TRAIN_ONLY = {"train": [("q1", "p1", 1)]}


def prepare(cache: Path, path: Path | str | None, **roles: list[str]) -> sources.Suite:
    return sources.prepare(LocalConfig(path=None if path is None else str(path), **roles), cache)


def test_suite_of_folders(write_collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_domain = write_collection("wiki")
    robust = write_collection("tales", **TRAIN_ONLY)
    write_collection("claims", **TEST_ONLY)
    write_collection("code", dev=[("q1", "p1", 1)], **TEST_ONLY)
    monkeypatch.chdir(tmp_path)
    suite = prepare(tmp_path / "cache", "wiki", robust=[str(robust)], ood=["claims/", "./code"])
    assert suite.name == "wiki"
    assert suite.in_domain == in_domain
    assert suite.robust == {"tales": robust}
    assert suite.ood == {"claims": tmp_path / "claims", "code": tmp_path / "code"}
    labelled = sources.prepare(LocalConfig(path="wiki", label="mine"), tmp_path / "cache")
    assert labelled.name == "mine"


def test_fingerprint_follows_content_and_roles(write_collection: Write, tmp_path: Path) -> None:
    passages = {"p1": "something else"}
    first = write_collection("one/wiki")
    second = write_collection("two/wiki")
    other = write_collection("other", passages=passages, **TEST_ONLY)
    config = LocalConfig(path=str(first))
    assert sources.fingerprint(config) == sources.fingerprint(LocalConfig(path=str(second)))
    assert sources.fingerprint(config) == sources.fingerprint(config, tmp_path / "cache")
    assert sources.fingerprint(config) == sources.prepare(config, tmp_path / "cache").fingerprint
    assert sources.fingerprint(dataclasses.replace(config, frac=0.5, vocabulary=5)) == sources.fingerprint(
        config
    )
    with_ood = sources.fingerprint(dataclasses.replace(config, ood=[str(other)]))
    assert with_ood != sources.fingerprint(config)
    with (other / "queries.jsonl").open("a") as file:
        file.write('{"_id": "q3", "text": "one more"}\n')
    assert sources.fingerprint(dataclasses.replace(config, ood=[str(other)])) != with_ood


def test_messages_name_the_value_and_the_fix(write_collection: Write, tmp_path: Path) -> None:
    good = write_collection("good")
    tested = write_collection("tested", dev=[("q1", "p1", 1)], **TEST_ONLY)
    trained = write_collection("trained", **TRAIN_ONLY)
    file = tmp_path / "file.txt"
    file.touch()
    cache = tmp_path / "cache"
    wrong: list[tuple[str, dict[str, object]]] = [
        ("data=local needs data.path=FOLDER", {"path": None}),
        (f"data.path={tmp_path}/nowhere does not exist", {"path": tmp_path / "nowhere"}),
        (f"data.path={file} is not a folder", {"path": file}),
        (f"{tested} has no train judgements (splits there: dev, test); it can serve as an OOD test domain: "
         f"data.ood=[{tested}]", {"path": tested}),
        (f"{trained} has no test judgements (splits there: train); the effectiveness", {"path": trained}),
        (f"data.robust: {tested} has no train judgements", {"path": good, "robust": [str(tested)]}),
        (f"data.ood: {trained} has no test judgements", {"path": good, "ood": [str(trained)]}),
        ("data.ood names the domain 'tested' twice", {"path": good, "ood": [str(tested), f"{tested}/"]}),
        ("'tested' is in data.robust and in data.ood",
         {"path": good, "robust": [str(tested)], "ood": [str(tested)]}),
        ("'tested' is in data.robust_dev and in data.ood",
         {"path": good, "robust_dev": [str(tested)], "ood": [str(tested)]}),
        ("'trained' is in data.robust and in data.robust_dev",
         {"path": good, "robust": [str(trained)], "robust_dev": [str(trained)]}),
        (f"data.ood {good} has the name of the in-domain collection (data.path {good}); each",
         {"path": good, "ood": [str(good)]}),
        (f"data.robust {good} has the name of the in-domain collection (data.path {good}); each",
         {"path": good, "robust": [str(good)]}),
    ]  # fmt: skip
    for message, arguments in wrong:
        wanted = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
        with pytest.raises(ConfigError) as caught:
            sources.fingerprint(LocalConfig(**wanted), cache)  # type: ignore[arg-type]
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_robust_dev_is_dev_or_else_test(write_collection: Write, tmp_path: Path) -> None:
    home, cache = write_collection("home"), tmp_path / "cache"
    for name, splits in {"dev": {"dev": [("q1", "p1", 1)]}, "test": TEST_ONLY}.items():
        folder = write_collection(name, passages={"p1": name}, **splits)
        suite = prepare(cache, home, robust_dev=[str(folder)])
        assert suite.robust_dev == {name: folder}
        assert suite.fingerprint != prepare(cache, home).fingerprint
        assert suite.fingerprint != prepare(cache, home, ood=[str(folder)] * (name == "test")).fingerprint
    trained = write_collection("trained", passages={"p1": "x"}, **TRAIN_ONLY)
    with pytest.raises(ConfigError) as caught:
        prepare(cache, home, robust_dev=[str(trained)])
    assert str(caught.value) == (
        f"data.robust_dev: {trained} has no dev or test judgements (splits there: train); dev/ood is "
        "measured on them, so name another collection"
    )


@pytest.mark.parametrize("role", ["robust", "robust_dev", "ood"])
def test_no_domain_is_called_like_the_in_domain_collection(
    write_collection: Write, tmp_path: Path, role: str
) -> None:
    path, other = write_collection("a/wiki"), write_collection("b/wiki", passages={"p1": "x", "p2": "y"})
    with pytest.raises(ConfigError, match="has the name of the in-domain collection"):
        prepare(tmp_path / "cache", path, **{role: [str(other)]})


def test_a_folder_without_the_files_is_a_data_error(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection()
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(DataError, match=r"corpus\.jsonl: no such file; a collection in BEIR format holds"):
        prepare(tmp_path / "cache", folder)


def test_unknown_source() -> None:
    with pytest.raises(
        ConfigError,
        match=r"data\.name=msmarkov is not known; valid: beir, hub, local, mteb, pydocs, synthetic",
    ):
        sources.fingerprint(DataConfig(name="msmarkov"))
