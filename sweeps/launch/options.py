"""Options of a launcher, checked by the fields of the class that holds them, and those of its tasks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from retrieval.config.unknown import suggestion
from retrieval.errors import ConfigError

T = TypeVar("T")

HOOKS = frozenset(("open", "worker", "prepare", "probe", "gpu_probe", "preload", "environment"))
"""Fields that are no keys of a configuration: what programs set."""

SLURM_ONLY = (
    *("partition", "account", "qos", "constraint", "array_parallelism"),
    *("setup", "signal_delay_s", "srun_args"),
)
LISTS = ("slurm_setup", "slurm_srun_args")
ONE_PROCESS = ("nodes", "tasks_per_node")


def split(given: Mapping[str, Any], *kinds: Callable[..., Any]) -> list[dict[str, Any]]:
    """The options of each class, by the names of its fields.

    Raises:
        ConfigError: No class has an option of a name, or a value is none of its kind.
    """
    types = [get_type_hints(kind) for kind in kinds]
    names = [{field.name for field in fields(kind)} for kind in kinds]  # type: ignore[arg-type]
    known = set[str]().union(*names)
    for name, value in given.items():
        if name not in known:
            raise ConfigError(_unknown(name, known))
        _check(name, value, next(hints[name] for hints in types if name in hints))
    return [{name: value for name, value in given.items() if name in own} for own in names]


def _unknown(name: str, known: Iterable[str]) -> str:
    valid = sorted(set(known) - HOOKS)
    listed = ", ".join(f"hydra.launcher.{each}" for each in valid)
    return f"no key hydra.launcher.{name}{suggestion(name, valid)}; valid: {listed}"


def _check(name: str, value: Any, kind: Any) -> None:
    """Refuse what is no truth value, and what is no count, where one is asked for."""
    if kind is bool and not isinstance(value, bool):
        raise ConfigError(f"hydra.launcher.{name}={value} is no truth value; give true or false")
    if kind not in (int, int | None) or (value is None and kind == int | None):
        return
    least = 0 if name == "requeues" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        null = " or null" if kind == int | None else ""
        raise ConfigError(
            f"hydra.launcher.{name}={value} is out of range; give a whole number from {least}{null}"
        )


def parameters(cluster: str, resources: Mapping[str, Any], gpus: int) -> dict[str, Any]:
    """What a task of submitit's ``cluster`` asks for, by submitit's names; ``gpus``: how many are here.

    Raises ConfigError: more than one process of a task is asked for.
    """
    given = {name: value for name, value in resources.items() if value is not None}
    for name in ONE_PROCESS:
        if given.get(name, 1) != 1:
            raise ConfigError(
                f"hydra.launcher.resources.{name}={given[name]}: valid is 1, since every process of a task "
                "would run all its cells; ask for more by cpus_per_task and gpus_per_node"
            )
    if cluster == "local":
        return {"gpus_per_node": gpus, **given}
    given = {f"slurm_{name}" if name in SLURM_ONLY else name: value for name, value in given.items()}
    for name in LISTS:
        if name in given:
            given[name] = [given[name]] if isinstance(given[name], str) else list(given[name])
    own = given.get("slurm_srun_args", [])
    if "cpus_per_task" in given and not any(word.startswith(("-c", "--cpus-per-task")) for word in own):
        # From Slurm 22.05 on, sbatch's is the job's alone, and srun would use one core.
        given["slurm_srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}", *own]
    return given
