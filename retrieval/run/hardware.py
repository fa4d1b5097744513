"""Device, precision and memory of a process, and what libraries print in it."""

import logging
import os
import resource
import sys
import warnings
from pathlib import Path

import torch

from retrieval.config import Config, ModelConfig, TrainerConfig
from retrieval.config.model import WHOLE
from retrieval.errors import ConfigError, first_line
from retrieval.run.precision import faster_precision


def choose_device(config: TrainerConfig) -> torch.device:
    """The device that ``trainer.accelerator`` names; ``auto`` prefers a GPU.

    Raises:
        ConfigError: there is no such device here.
    """
    wanted = config.accelerator
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted not in ("auto", "gpu", *available):
        raise ConfigError(f"trainer.accelerator={wanted} is not known; valid: auto, cpu, cuda, gpu, mps")
    if not available.get(wanted, True):
        raise ConfigError(f"trainer.accelerator={wanted} is not available here; use auto or cpu")
    kind = wanted
    if wanted in ("auto", "gpu"):
        kind = next((name for name in ("cuda", "mps") if available[name]), "cpu")
        if kind == "cpu" and wanted == "gpu":
            raise ConfigError("trainer.accelerator=gpu: no GPU is visible to PyTorch; use cpu or auto")
    found = torch.cuda.device_count() if kind == "cuda" else 1
    if kind != "cpu" and found < config.devices:
        raise ConfigError(f"trainer.devices={config.devices} and there are {found} of {kind}; use {found}")
    return torch.device(kind)


def choose_precision(wanted: str, device: torch.device, cache: Path) -> str:
    """``32`` or ``bf16``; ``auto`` takes bf16 where the hardware multiplies it faster.

    A processor is measured for that once, see :func:`retrieval.run.precision.faster_precision`.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device.type == "cpu":
        return faster_precision(cache)
    return "32"


def chosen(config: Config, device: str | None = None) -> tuple[torch.device, str]:
    """Device and precision of a configuration; ``device``, where one is named, stands above its own.

    Raises:
        ConfigError: there is no such device.
    """
    try:
        place = torch.device(device) if device else choose_device(config.trainer)
    except RuntimeError as error:
        raise ConfigError(f"--device {device} is not known: {first_line(error)}") from error
    return place, choose_precision(config.train.precision, place, Path(config.cache))


def check_loading(model: ModelConfig, device: torch.device) -> None:
    """Refuse weights in a type that only NVIDIA's GPUs compute with.

    Raises:
        ConfigError: ``device`` is no such GPU.
    """
    if model.load_in != WHOLE and device.type != "cuda":
        raise ConfigError(
            f"model.load_in={model.load_in} needs an NVIDIA GPU, and the device is {device.type}; set "
            f"model.load_in={WHOLE}"
        )


def settle(device: torch.device) -> None:
    """Make a GPU compute the same numbers again: of operations that have one, take the deterministic kind.

    PyTorch warns of an operation that has none, by its name. Backward passes of attention are among them:
    gradients of texts beyond 128 tokens may differ in their last digits. cuBLAS reads its setting when a
    process uses it first.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # What is allocated is written before it is read; filling it first would only take time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that computing on ``device`` draws from.

    ``torch.manual_seed`` does so for devices of every kind; for those that are not in use it keeps the stack
    of its caller, which takes longer than some layers do.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
    elif device.type == "cuda":
        torch.cuda.manual_seed(seed)
    torch.default_generator.manual_seed(seed)


def peak_memory(device: torch.device) -> int:
    """Most memory held so far in bytes: of the GPU where one is used, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def quiet() -> None:
    """Keep libraries' notices about things that are decided here from the terminal."""
    import transformers

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|torch\.utils\.data")
