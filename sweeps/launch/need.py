"""What a cell costs, from its configuration: the basis of slots, order and the first time left.

Texts of folders that it names are counted by the lines of their files.

Rough by design (a factor of two): what a probe of this machine (:mod:`sweeps.launch.probe`) found corrects
it, and so does the scheduler, by what running cells report. Nothing here needs PyTorch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.run.precision import likely_precision
from retrieval.run.processor import CPUINFO, instruction_sets
from retrieval.training.strategy import strategy_of
from sweeps.launch.calibration import Calibration
from sweeps.launch.facts import Shape, parameters
from sweeps.launch.workload import Contents, assumed_contents, workload

RATES = (("amx_bf16", 2e11), ("avx512f", 8e10), ("avx2", 4e10))
"""Sustained FLOP/s of one core in training at BERT-mini's width, by the best instruction set it has:
2e11 gives the 102 pairs/s measured for BERT-mini with 30,522 words and 92 tokens a pair, and 310 for tiny."""

FULL_RATE_HIDDEN, BEST_EFFICIENCY = 256, 1.25
"""Narrower models are bound by memory and dispatch, wider ones come closer to the peak (2.5e11 for base)."""

OTHER_RATE = 4e10
GPU_RATE = 5e13
BANDWIDTH = 1e10
"""Bytes/s a core reads and writes; bounds the optimiser's pass over the embedding table."""

OPTIMISER_BYTES = 28
"""Bytes moved per parameter and step by a dense AdamW update in fp32."""

LAYER_SECONDS = 2e-3
"""Fixed cost of a layer and step (dispatch of small operations)."""

START_SECONDS = 2.0
"""From the start of the process to the first step, and from the last measurement to the end."""

BYTES_PER_PARAMETER = 20
"""Weights, gradients and both moments in fp32, weights and gradients in bf16."""

PROCESS_BYTES = int(0.6 * 2**30)
"""A process before its first step: libraries, of which cells share most, data, tokenizer."""

GPU_PROCESS_BYTES = int(2.5 * 2**30)
"""Main memory of a process that computes on a GPU, whose libraries are larger. An estimate: not measured."""

HEAP_GROWTH = 1.1
"""The heap of a training step over what it holds, because freed blocks do not fit what comes."""

EVALUATION_BYTES = int(0.25 * 2**30)
"""On top of it, scores of the test sets, what encodes them, and the attacks."""

EXPONENTS = ((1e6, 0.585), (1e7, 0.75), (float("inf"), 0.85))
"""Speed-up of t threads = t**exponent, by non-embedding parameters: two threads gave 1.5 × for BERT-tiny
and 1.68 × for BERT-mini (466 against 310 and 171 against 102 pairs/s)."""


ASSUMED_MFU = 0.4
"""Share of the peak that training is assumed to reach at a width of 768 and more, ..."""

FULL_WIDTH = 768
"""... and proportionally less in narrower models."""

LAUNCH_SECONDS = 6e-4
"""Least time of a layer and step on an accelerator: some 60 kernels that are launched one by one."""


@dataclass(frozen=True)
class Accelerator:
    """A device by its data sheet."""

    name: str
    peak: float
    """Dense bf16 FLOP/s."""
    memory: int
    """Bytes."""

    def rate(self, hidden: int) -> float:
        """FLOP/s assumed in training a model of that width."""
        return self.peak * ASSUMED_MFU * min(1.0, hidden / FULL_WIDTH)


ACCELERATORS: dict[str, Accelerator] = {
    device.name: device
    for device in (
        Accelerator("b200", 2.25e15, 180 * 10**9),
        Accelerator("h200", 9.89e14, 141 * 10**9),
        Accelerator("h100", 9.89e14, 80 * 10**9),
        Accelerator("a100", 3.12e14, 80 * 10**9),
        Accelerator("a100-40gb", 3.12e14, 40 * 10**9),
        Accelerator("l40s", 3.62e14, 48 * 10**9),
        Accelerator("a10", 1.25e14, 24 * 10**9),
        Accelerator("l4", 1.21e14, 24 * 10**9),
        Accelerator("rtx4090", 1.65e14, 24 * 10**9),
    )
}
"""Peaks without sparsity, from the manufacturer's data sheets."""


PROXY_SECONDS = 0.07 / 64
"""Seconds of a core that all proxies of a run take for a pair of a step (an AMD EPYC, steps of 64 pairs)."""


@dataclass(frozen=True)
class Need:
    """Estimated need of one cell; times are on one core, or one GPU."""

    train: float
    """Seconds of training."""
    parameters: int
    """Non-embedding parameters."""
    memory: int = 0
    """Bytes of main memory."""
    evaluate: float = 0.0
    """Seconds of everything else, above all measuring."""
    before: float = 0.0
    """Seconds of proxies, which are trained before the run."""
    devices: int = 1
    """GPUs that it takes, where it runs on GPUs."""
    exponent: float | None = None
    """t threads are t**exponent times as fast as one; ``None`` = :data:`EXPONENTS`."""
    held: int = 0
    """Bytes of parameters, optimiser state and activations: what it takes of a GPU's memory."""
    busy: float | None = None
    """Share of its time in which it keeps a GPU busy; ``None``: not measured."""

    @property
    def seconds(self) -> float:
        """The whole time on one core, or one GPU."""
        return self.before + self.train + self.evaluate

    def on(self, threads: int) -> float:
        """The whole time in seconds with ``threads`` CPU threads."""
        return self.seconds / self.faster(threads)

    def faster(self, threads: int) -> float:
        """How many times faster than one thread ``threads`` are."""
        assumed = next(value for limit, value in EXPONENTS if self.parameters < limit)
        return float(threads ** (assumed if self.exponent is None else self.exponent))


def estimate(
    config: DictConfig,
    gpu: bool = False,
    contents: Contents | None = None,
    calibration: Calibration | None = None,
    device: Accelerator | None = None,
) -> Need:
    """Need of the cell ``config`` on a GPU of this machine (``gpu``), on another ``device``, or on its cores.

    ``contents``: what its data are like, ``None`` = typical; ``calibration``: what a probe of the cores, or
    of the GPU, found; ``None`` = rates as they are assumed.
    """
    contents = contents or assumed_contents(config)
    shape, train = Shape.of(config.model, contents.vocabulary), config.train
    on_cores = device is None and not gpu
    work = workload(config, contents, core_precision(config) if on_cores else gpu_precision(config))
    embedding = contents.vocabulary * shape.hidden
    if on_cores:
        rate = core_rate() * min(BEST_EFFICIENCY, shape.hidden / FULL_RATE_HIDDEN)
        update = embedding * OPTIMISER_BYTES / BANDWIDTH
        step = work.step_flops / rate + update + LAYER_SECONDS * shape.layers
    else:
        rate, overhead = (
            (GPU_RATE, LAYER_SECONDS) if device is None else (device.rate(shape.hidden), LAUNCH_SECONDS)
        )
        step = work.step_flops / rate / int(config.trainer.devices) + overhead * shape.layers
    training, measuring, exponent = step * int(train.steps), work.evaluation_flops / rate, None
    proxies = strategy_of(cast(Config, config).strategy).trains_proxies(cast(Config, config))
    before = PROXY_SECONDS * int(train.batch_size) * int(train.steps) if proxies else 0.0
    if calibration is not None and device is None:
        exponent = calibration.exponent(shape.hidden)
        training *= calibration.train(shape.hidden)
        measuring *= calibration.encode(shape.hidden)
    layers = parameters(config.model, contents.vocabulary)["size/params_non_embedding"]
    weights = layers + embedding
    held = BYTES_PER_PARAMETER * weights + work.activations
    return Need(
        train=training,
        parameters=layers,
        memory=int(_memory(held, weights, work.vectors, gpu, device)),
        evaluate=measuring + START_SECONDS,
        before=before,
        devices=int(config.trainer.devices),
        exponent=exponent,
        held=int(held),
        busy=None if calibration is None else calibration.busy(shape.hidden),
    )


def _memory(held: float, weights: float, vectors: float, gpu: bool, device: Accelerator | None) -> float:
    """Bytes of what bounds the number of cells: main memory, or that of a GPU that is not here."""
    if device is not None:
        return held
    if gpu:
        return GPU_PROCESS_BYTES + 4 * weights + EVALUATION_BYTES + vectors
    return resident(held, vectors)


def resident(held: float, vectors: float) -> float:
    """Peak of resident memory in bytes.

    ``held``: bytes of a training step's parameters, optimiser state and activations; ``vectors``: bytes of a
    test set's vectors.
    """
    return PROCESS_BYTES + HEAP_GROWTH * held + EVALUATION_BYTES + vectors


def core_precision(config: DictConfig, cpuinfo: Path = CPUINFO) -> str:
    """Precision of a run on this machine's cores, as ``choose_precision`` chooses it; nothing is measured."""
    if config.train.precision != "auto":
        return str(config.train.precision)
    return likely_precision(Path(config.cache), cpuinfo)


def gpu_precision(config: DictConfig) -> str:
    """Precision of a run on a GPU: bf16 unless another is asked for."""
    return "bf16" if config.train.precision == "auto" else str(config.train.precision)


def core_rate(cpuinfo: Path = CPUINFO) -> float:
    """FLOP/s assumed for one core of this machine; see :data:`RATES`."""
    flags = instruction_sets(cpuinfo)
    return next((rate for flag, rate in RATES if flag in flags), OTHER_RATE)
