"""Group ``trainer``: where and how a run executes."""

from dataclasses import dataclass

from retrieval.config.knobs import knob


@dataclass
class TrainerConfig:
    """Where and how a run executes; never part of its identity."""

    accelerator: str = knob("auto", "Device, as Lightning names it: cpu, gpu, or auto.")
    devices: int = knob(1, "Devices of a run; the batch is shared by them.", minimum=1)
    compile: bool = knob(
        False, "Whether torch.compile makes fewer kernels of BERT's layers; bf16 on an NVIDIA GPU only."
    )
    threads: int | None = knob(
        None, "CPU threads of this run; null: all, or what the launcher assigns.", minimum=1
    )
    log_every: int = knob(10, "Steps between lines of metrics.jsonl.", minimum=1)
    checkpoint_every: int = knob(50, "Steps between checkpoints.", minimum=1)
    checkpoint_seconds: float = knob(20.0, "Least seconds between checkpoints.", minimum=0)
    progress: bool = knob(True, "Whether progress bars are shown.")
