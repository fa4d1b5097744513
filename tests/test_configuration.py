from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import MISSING, OmegaConf

from retrieval.config import ModelConfig, model_name, register_schema
from retrieval.config.data import SOURCES
from retrieval.config.knobs import Knob
from retrieval.config.model import SIZES
from retrieval.config.schema import settings_of
from retrieval.config.validation import validate
from retrieval.errors import ConfigError
from retrieval.run.messages import explain, prepared
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import composed

CONF = REPOSITORY / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
NEEDED = {"data": {"local": ["data.path=folder"], "hub": ["data.dataset=some/pairs"]}}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str) -> None:
    validate(composed(f"experiment={name}"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_value_of_an_experiment_reaches_the_run(name: str) -> None:
    chosen = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    for key in ("defaults", "hydra"):
        chosen.pop(key, None)
    config = composed(f"experiment={name}")
    assert OmegaConf.merge(config, chosen) == config


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("model", name) for name in ("bert", *SIZES)),
        *(
            (folder.name, path.stem)
            for folder in sorted(CONF.iterdir())
            if folder.is_dir() and folder.name not in ("hydra", "experiment", "study")
            for path in sorted(folder.glob("*.yaml"))
        ),
    ],
)
def test_every_option_of_every_group_composes(group: str, name: str) -> None:
    config = composed(f"{group}={name}", *NEEDED.get(group, {}).get(name, []))
    validate(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def test_the_sweep_of_an_experiment_is_a_multirun() -> None:
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["experiment=demo"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN"
    assert set(config.hydra.sweeper.params) >= {"data.frac", "strategy"}


@pytest.mark.parametrize("source", [*SOURCES, "unknown"])
def test_every_key_has_a_help_and_a_valid_default(source: str) -> None:
    for setting in settings_of(source, ()):
        text = setting.knob.help
        assert re.fullmatch(r".{8,}\.", text), setting
        if not str(setting.default).startswith(("${", MISSING)):
            setting.knob.check(setting.key, setting.default)


@pytest.mark.parametrize(
    ("valid", "words", "bad"),
    [
        ({"minimum": 1}, "1 or more", 0),
        ({"minimum": 0, "maximum": 2**31 - 1}, "from 0 to 2147483647", -1),
        ({"minimum": 0, "below": 1}, "from 0 to below 1", 1),
        ({"above": 0, "maximum": 1}, "above 0, at most 1", 0),
        ({"above": 0}, "above 0", 0),
        ({"choices": ("mean", "cls")}, "mean, cls", "max"),
        ({"choices": lambda: ("32", "bf16")}, "32, bf16", 16),
        ({"minimum": 1, "optional": True}, "1 or more, or null", 0.5),
    ],
)
def test_valid_values_in_words(valid: dict[str, Any], words: str, bad: object) -> None:
    knob = Knob("", **valid)
    assert knob.valid == words
    with pytest.raises(ConfigError, match=words):
        knob.check("some.key", bad)


def test_files_hold_only_what_differs_from_the_defaults() -> None:
    defaults = {
        setting.key: setting.default for source in SOURCES for setting in settings_of(source, ("wsra",))
    }
    repeated = [
        f"{path.relative_to(CONF)}: {name}"
        for group in ("attack", "data", "eval", "logger", "model", "strategy", "trainer")
        for path in sorted((CONF / group).glob("*.yaml"))
        for name, value in (OmegaConf.to_container(OmegaConf.load(path)) or {}).items()
        if name != "defaults" and defaults.get(f"{group}.{name}", MISSING) == value
    ]
    assert repeated == []


def test_no_tracked_configuration_names_a_place() -> None:
    for path in CONF.rglob("*.yaml"):
        assert str(Path.home()) not in path.read_text()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ModelConfig(layers=4, hidden=256, init="scratch"), "bert-mini"),
        (ModelConfig(layers=6, hidden=512, init="scratch"), "bert-l6-h512"),
        (ModelConfig(init="pretrained", pretrained="google-bert/bert-base-uncased"), "bert-base-uncased"),
        (ModelConfig(init="pretrained", pretrained="some/folder/"), "folder"),
    ],
)
def test_names_of_models(model: ModelConfig, name: str) -> None:
    assert model_name(model) == name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+train.warmup_steps=5", r"no key train.warmup_steps \(did you mean warmup\?\); valid: train.batch"),
        ("+eval.k=5", "no key eval.k; valid: eval.bm25"),
        ("+strategy.tau=3", "no key strategy.tau"),
        (
            "++strategy.perturbation.x=1",
            "no key strategy.perturbation.x; valid: strategy.perturbation.epsilon",
        ),
        ("+data.foo=1", "no key data.foo"),
        ("+attack.words=3", "attack.words is a key of attack=wsra only"),
        ("+foo=1", "no key foo; valid: attack, cache"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(composed(override))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+seed=1", r"\+seed: there is a key seed already; leave out the \+"),
        ("seed=\u22121", r"it has \u2212 \(U\+2212\) where - belongs"),
        ("train.lr=1e\u20133", r"it has \u2013 \(U\+2013\) where - belongs"),
        ("data.path=\u201ca b\u201d", r'it has \u201c \(U\+201C\) where " belongs'),
        ("seed=\uff11", r"it has \uff11 \(U\+FF11\) where 1 belongs"),
        ("seed:=1", "cannot read the override 'seed:=1'; write key=value"),
        ("seed=1,", "cannot read the override 'seed=1,'; write key=value"),
        ("runs=", "runs is empty; name a folder"),
        ("cache=", "cache is empty; name a folder"),
        ("model@x=bert-mini", "no key model@x"),
        ("+model/foo=bar", "no key model/foo"),
    ],
)
def test_signs_that_command_lines_go_wrong_with(override: str, words: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- Hydra has an exception for each
        validate(composed(prepared(override)))
    assert re.search(words, str(explain(raised.value)))


def test_a_home_folder_is_found_behind_a_sign_of_equality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/some one")
    config = composed("data=local", prepared("data.path=~/a set"), prepared("runs=~/x"))
    assert (config.data.path, config.runs) == ("/home/some one/a set", "/home/some one/x")
    assert prepared("model=~/a,~/b") == "model=~/a,~/b"


@pytest.mark.parametrize(
    "given",
    [
        "+data.hub.squad={dataset: some/squad,\n    test: 'a[1:]'}",
        "+data.hub={squad: {dataset: some/squad, test: 'a[1:]'}}",
    ],
)
def test_a_hub_dataset_is_added_under_a_name(given: str) -> None:
    config = composed(prepared(given), prepared("data.hub.squad.train=train[:90%]+dev"))
    assert config.data.hub.squad.dataset == "some/squad"
    assert (config.data.hub.squad.train, config.data.hub.squad.test) == ("train[:90%]+dev", "a[1:]")
