"""Cells as tasks of a cluster: of a batch system, through submitit (Slurm, or plain processes), or of Ray."""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

from retrieval.errors import ConfigError, first_line
from retrieval.run.resources import available_gpus
from sweeps.launch import submission
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.display import Display
from sweeps.launch.options import parameters
from sweeps.launch.process import interrupts_ignored
from sweeps.launch.submission import Chunk, ChunkRunner, Submitted
from sweeps.launch.sweep import Options

ARRAY = 1000
"""Tasks of an array that Slurm takes unless its MaxArraySize is raised."""

OF_THE_USER = ("SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION")
OF_SUBMITIT = "SUBMITIT_PREEMPT_SIGNAL"
"""Variables that say how to submit, and not which job this process is in."""

PAUSED = ("SUSPENDED", "RESIZING")
"""States that submitit takes for an end."""

ASK_SECONDS = 120.0
"""Time between two questions to Slurm about tasks that are paused."""

PREEMPTED_SECONDS = 1800.0
"""How long a task may stay preempted: then it was cancelled, not queued again. Submitit asks every 600 s."""


@dataclass(frozen=True)
class BatchOptions:
    """What a task asks for; ``conf/hydra/launcher/submitit_slurm.yaml`` documents each."""

    cluster: str
    """``slurm`` or ``local``."""
    chunk: int = 1
    wait: bool = True
    requeues: int = 20
    resources: Mapping[str, Any] = field(default_factory=dict)
    """Parameters by submitit's names; those that are ``None`` are left out."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every cell."""


class BatchTask:
    """A job of submitit, as :func:`sweeps.launch.submission.watch` sees it."""

    lag = submission.UNSEEN_SECONDS
    _asked: ClassVar[float] = float("-inf")

    def __init__(self, job: Any) -> None:
        self.job = job
        self._preempted: float | None = None

    def ended(self) -> bool:
        """Whether the batch system is done with it; submitit errs on paused tasks and on preempted ones."""
        done, state = self.job.done(), self.job.state
        if state != "PREEMPTED":
            self._preempted = None
        elif self._preempted is None:
            self._preempted = time.monotonic()
        elif time.monotonic() - self._preempted > PREEMPTED_SECONDS:
            return True
        if done and state in PAUSED and not self.job.paths.result_pickle.exists():
            if time.monotonic() - BatchTask._asked > ASK_SECONDS:
                BatchTask._asked = time.monotonic()
                self.job.watcher.clear()  # it does not ask again about a task that it thinks has ended
            return False
        return bool(done)

    def reason(self) -> str:
        """Its last state, and where its log is."""
        return f"job {self.job.job_id} ended as {self.job.state} without it; log: {self.job.paths.stderr}"

    def cancel(self) -> None:
        """Cancel it, or take it out of the queue."""
        self.job.cancel(check=False)


class LocalTask(BatchTask):
    """A process of submitit on this machine."""

    lag = 0.0

    def __init__(self, job: Any, chunk: Chunk) -> None:
        super().__init__(job)
        self._chunk = chunk

    def cancel(self) -> None:
        """Let its cells write their checkpoints.

        By the signal that submitit hands on; upon its own for this, the task is dead a second later.
        """
        self._chunk.call_off()  # a task that only starts would not hear the signal
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.job.job_id), signal.SIGTERM)


def run_batch(
    waiting: Sequence[Cell], record: SweepRecord, cells: Sequence[Cell], options: Options, batch: BatchOptions
) -> bool:
    """Submit ``waiting`` as one job array and watch it; whether it was interrupted.

    Raises SystemExit: 0, when the tasks are not to be waited for; ConfigError: there is no such batch
    system here, or it does not take a parameter or the tasks.
    """
    folder = record.path.parent
    chunks = submission.cut(waiting, max(1, batch.chunk))
    submission.make_importable()
    tasks = _submit(chunks, folder, options, batch)
    display = Display()
    first = cast(BatchTask, tasks[0].task).job.job_id.partition("_")[0]

    def watching() -> None:
        record.write(cells, force=True)
        where = f"{batch.cluster} job {first}; logs: {folder / 'jobs'}"
        display.say(f"{len(waiting)} cells in {len(tasks)} tasks, {where}")
        if not batch.wait:
            display.say("not waiting for them; `python -m sweeps status` shows how they stand")
            raise SystemExit(0)
        submission.watch(tasks, cells, record, display)

    def interrupted() -> None:
        if batch.cluster == "local":
            submission.take_back(tasks, display)
        else:
            display.say(f"the tasks go on; cancel them with: scancel {first}", "yellow")

    return submission.until_interrupted(watching, interrupted)


def _submit(
    chunks: Sequence[Sequence[Cell]], folder: Path, options: Options, batch: BatchOptions
) -> list[Submitted]:
    executor = _executor(folder / "jobs", batch)
    runner = ChunkRunner(options, batch.environment)
    parts = [Chunk.of(cells, folder, number) for number, cells in enumerate(chunks)]
    local = batch.cluster == "local"
    before = [submission.attempts(cells) for cells in chunks]  # a task may start before this goes on
    try:
        with interrupts_ignored() if local else _outside_a_job():
            jobs = executor.map_array(runner, parts)
    except (RuntimeError, FileNotFoundError) as error:
        raise _not_taken(batch, chunks, error) from error
    return [
        Submitted(LocalTask(job, part) if local else BatchTask(job), cells, earlier)
        for job, part, cells, earlier in zip(jobs, parts, chunks, before, strict=True)
    ]


@contextlib.contextmanager
def _outside_a_job() -> Iterator[None]:
    """Hide what names the job of Slurm that this process is in: tasks would take it for their own."""
    from submitit.helpers import clean_env

    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    kept = {name: os.environ[name] for name in (*OF_THE_USER, OF_SUBMITIT) if name in os.environ}
    with clean_env():
        os.environ.update(kept)
        yield


def _not_taken(batch: BatchOptions, chunks: Sequence[Sequence[Cell]], error: Exception) -> ConfigError:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).split("\n")]
    reason = "; ".join(line.strip() for line in lines if line.strip()) or type(error).__name__
    fix = "mend hydra.launcher.resources: partition, account, qos and what a task asks for"
    if len(chunks) > ARRAY:
        least = -(-sum(map(len, chunks)) // ARRAY)
        fix = f"raise hydra.launcher.chunk={batch.chunk} to {least}: Slurm takes {ARRAY} tasks by default"
    return ConfigError(
        f"hydra/launcher=submitit_{batch.cluster}: {len(chunks)} tasks were refused ({reason}); {fix}"
    )


def _executor(folder: Path, batch: BatchOptions) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            f"hydra/launcher=submitit_{batch.cluster} needs submitit ({error}); "
            "install with: pip install 'paretrieve[slurm]'"
        ) from error
    requeues = {"slurm_max_num_timeout": batch.requeues} if batch.cluster == "slurm" else {}
    gpus = available_gpus() if batch.cluster == "local" else []
    given = parameters(batch.cluster, batch.resources, len(gpus))
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=batch.cluster, **requeues)
        executor.update_parameters(**given)
    except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
        raise ConfigError(f"hydra/launcher=submitit_{batch.cluster}: {error}") from error
    if gpus:
        executor.parameters["visible_gpus"] = gpus  # those of this process, not the machine's first
    return executor


CONNECT_SECONDS = 10.0

PASSED = ("PYTHONPATH", "HF_HOME", "HF_HUB_OFFLINE")
NOT_PASSED = re.compile("KEY|TOKEN|SECRET|PASSWORD|HEADERS|SERVICE")
"""Parts of names of W&B's variables: secrets, and the process of this machine that W&B uses."""


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs and what a task asks for; ``conf/hydra/launcher/ray.yaml`` documents each."""

    address: str | None = "auto"
    num_cpus: float = 1
    num_gpus: float = 0
    chunk: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every cell."""


class RayTask:
    """A task of Ray, as :func:`sweeps.launch.submission.watch` sees it."""

    def __init__(self, ray: Any, reference: Any, lag: float) -> None:
        self._ray, self._reference, self.lag = ray, reference, lag
        self._cancelled = False

    def ended(self) -> bool:
        """Whether its result, or its error, is there."""
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def reason(self) -> str:
        """Its error."""
        try:
            return f"the task ended with status {self._ray.get(self._reference, timeout=10)} without it"
        except Exception as error:  # Ray wraps whatever happened in types of its own
            return f"the task ended: {(str(error).strip().splitlines() or [type(error).__name__])[-1]}"

    def cancel(self) -> None:
        """Interrupt it as Ctrl-C would; a second time, end its process, and its cells with it."""
        self._ray.cancel(self._reference, force=self._cancelled)
        self._cancelled = True


def run_on_ray(
    waiting: Sequence[Cell], record: SweepRecord, cells: Sequence[Cell], options: Options, given: RayOptions
) -> bool:
    """Run ``waiting`` as tasks of Ray, each once; whether it was interrupted.

    Raises ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _connect(given)
    threads = options.threads or max(1, int(given.num_cpus))
    runner = ChunkRunner(replace(options, slots=1, threads=threads), given.environment)
    # Ray would start a task that died again, and again what killed it.
    remote = ray.remote(num_cpus=given.num_cpus, num_gpus=given.num_gpus, max_retries=0)(_run)
    tasks, lag = [], 0.0 if given.address == "local" else submission.UNSEEN_SECONDS
    for number, part in enumerate(submission.cut(waiting, max(1, given.chunk))):
        before = submission.attempts(part)
        reference = remote.remote(runner, Chunk.of(part, record.path.parent, number))
        tasks.append(Submitted(RayTask(ray, reference, lag), part, before))
    display = Display()
    display.say(f"{len(waiting)} cells in {len(tasks)} Ray tasks of {given.num_cpus:g} CPUs")
    try:
        return submission.until_interrupted(
            lambda: submission.watch(tasks, cells, record, display),
            lambda: submission.take_back(tasks, display),
        )
    finally:
        ray.shutdown()


def _run(runner: ChunkRunner, chunk: Chunk) -> int:
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's guess; the cells are given theirs
    return runner(chunk)


def _connect(given: RayOptions) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"hydra/launcher=ray needs Ray ({error}); install with: pip install 'paretrieve[ray]'"
        ) from error
    _check_address(given.address)
    submission.make_importable()
    environment = {"env_vars": _of_the_shell(given)}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(address=given.address, runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(given.address, error) from error
    return ray


def _of_the_shell(given: RayOptions) -> dict[str, str]:
    """Variables for the workers; none that is a secret, since Ray shows and stores them."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or (name.startswith("WANDB_") and not NOT_PASSED.search(name))
    }
    # Ray hides no GPU from a task without one, and all cells would train on the first.
    return passed if given.num_gpus else {**passed, "CUDA_VISIBLE_DEVICES": ""}


def _check_address(address: str | None) -> None:
    """Refuse a host that does not answer: Ray would go on asking it for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\]/]+)\]?:(\d+)", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> ConfigError:
    return ConfigError(
        f"hydra.launcher.address={address}: no Ray cluster there ({first_line(error)}); start one with "
        "`ray start --head`, or set hydra.launcher.address=local"
    )
