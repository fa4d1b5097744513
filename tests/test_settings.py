"""Settings of model and training that a result states."""

from __future__ import annotations

from retrieval.config.validation import validate
from retrieval.run.settings import changed_settings
from tests.conftest import composed


def test_only_settings_that_differ_from_the_schema_are_stated() -> None:
    plain = validate(composed())
    assert changed_settings(plain) == {}
    swept = validate(composed("model=bert-tiny", "model.dropout=0.1", "train.lr=0.001", "train.steps=300"))
    # Size and steps have columns of their own.
    assert changed_settings(swept) == {"model/dropout": 0.1, "train/lr": 0.001}


def test_nested_settings_have_dots_and_lists_commas() -> None:
    changes = "model.lora.alpha=32", "model.lora.targets=[query,value]", "train.clip=0"
    found = changed_settings(composed(*changes))
    assert found == {"model/lora.alpha": 32, "model/lora.targets": "query, value", "train/clip": 0}
