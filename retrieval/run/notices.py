"""Notices of libraries that would tell a person nothing new."""

from __future__ import annotations

import logging
import warnings

import transformers


def quiet() -> None:
    """Keep libraries' notices about things that are decided here from the terminal."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|torch\.utils\.data")
